"""The coarse filter."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, Fraction, Method, Name, Section

Unit = Literal["turn", "window", "chunk"]
"""A part of a session that is embedded: a turn, a window of turns, or a chunk of tokens."""

ScoreName = Literal[
    "dense_turn_max",
    "dense_turn_mean3",
    "dense_window_max",
    "dense_chunk_max",
    "dense_session",
    "m3_lexical",
    "m3_multi_vector",
    "lexical_session",
    "lexical_turn_max",
    "lexical_turn_mean3",
    "lexical_narrow_max",
    "lexical_window_max",
    "lexical_wide_max",
    "lexical_phrase",
    "speaker",
    "date",
    "relative_date",
    "length",
]
"""What each one is: `memsifter.retrieval.catalogue`."""


class EmbedParams(Section):
    """Embedding. A chunk is what fits of a session into `chunk_tokens`; neighbours share up to `chunk_overlap`."""

    model: Name
    model_class: Literal["encoder-only-base", "encoder-only-m3", "decoder-only-base"]
    pooling: Literal["cls", "mean", "last_token"]
    query_instruction: str
    units: tuple[Unit, ...] = ("chunk",)
    """What of a session is embedded. `dense_turn_*` needs `turn` as well, `dense_window_max` `window`."""
    window_turns: Count = 4
    """Turns of an embedded window."""
    token_vectors: bool = False
    """Keep a vector per token too, with an M3 model: `m3_multi_vector` needs them, and they take much space."""
    chunk_tokens: Annotated[int, Field(ge=16)]
    chunk_overlap: Annotated[int, Field(ge=0)]
    batch_size: Count
    use_fp16: bool
    workers: Count
    cpus_per_worker: Annotated[float, Field(gt=0)]
    gpus_per_worker: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _overlap_fits(self) -> "EmbedParams":
        if self.chunk_overlap >= self.chunk_tokens:
            raise ValueError("chunk_overlap must be smaller than chunk_tokens")
        return self

    @model_validator(mode="after")
    def _units_hold_chunks(self) -> "EmbedParams":
        if "chunk" not in self.units or len(set(self.units)) < len(self.units):
            raise ValueError("units must name chunk (the method dense reads it), and nothing twice")
        return self


class Bm25Params(Section):
    """Okapi BM25, and how many turns a window has; a narrow one has half as many, a wide one twice as many."""

    k1: Annotated[float, Field(ge=0)]
    b: Fraction
    window_turns: Count


class FusionWeights(Section):
    """Weights of the standardised scores in `hand_weighted`."""

    dense: Annotated[float, Field(ge=0)]
    lexical: Annotated[float, Field(ge=0)]
    date: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _not_all_zero(self) -> "FusionWeights":
        if self.dense == 0 and self.lexical == 0:
            raise ValueError("at least one of dense and lexical must be positive")
        return self


class FitParams(Section):
    """Fitting the weights of `fitted` on the train questions of `datasets`.

    `l2` pulls each weight towards its `default_weights` (0 where there is none): l2 / 2 times the squared distance is
    added to the summed loss of all questions. Without train questions the default weights are what is used.
    """

    datasets: tuple[Name, ...]
    l2: Annotated[float, Field(gt=0)]
    folds: Annotated[int, Field(ge=2)]
    default_weights: dict[ScoreName, float]


class RetrievalParams(Section):
    """The coarse filter: `fusion` says what orders the sessions, `scores` what the fitted combiner weighs."""

    fusion: Method
    scores: Annotated[tuple[ScoreName, ...], Field(min_length=1)]
    lexical: Literal["bm25", "m3"]
    weights: FusionWeights
    bm25: Bm25Params
    fit: FitParams

    @model_validator(mode="after")
    def _scores_are_distinct(self) -> "RetrievalParams":
        if len(set(self.scores)) < len(self.scores):
            raise ValueError("scores names one more than once")
        return self

"""The coarse filter."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, CountOrZero, Fraction, Gpus, Method, Name, Section, Weight

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
    """The embedder. A chunk is as much of a session as fits into `chunk_tokens`."""

    model: Name = "embedder"
    """The key of `models` that embeds."""
    model_class: Literal["encoder-only-base", "encoder-only-m3", "decoder-only-base"] = "encoder-only-base"
    """Architecture of the embedder, as FlagEmbedding names it. `encoder-only-m3` has the further heads of bge-m3."""
    pooling: Literal["cls", "mean", "last_token"] = "mean"
    """How the vectors of the tokens of a text become one: it must be what the model was trained with."""
    query_instruction: str = ""
    """Text put before every question, where the embedder was trained with one."""
    units: tuple[Unit, ...] = ("chunk",)
    """What of a session is embedded. `dense_turn_*` needs `turn` as well, `dense_window_max` `window`."""
    window_turns: Count = 4
    """Turns of an embedded window."""
    token_vectors: bool = False
    """Keep a vector per token too, with an M3 model: `m3_multi_vector` needs them, and they take much space."""
    chunk_tokens: Annotated[int, Field(ge=16, lt=2**31)] = 192
    """The longest chunk, in tokens of the embedder."""
    chunk_overlap: CountOrZero = 64
    """The most tokens that neighbouring chunks share; less than `chunk_tokens`."""
    batch_size: Count = 1
    """Texts embedded together. Above 1, the last bits of a vector depend on its neighbours in the batch."""
    use_fp16: bool = False
    """Compute in float16: faster on a GPU, less exact."""
    workers: Count = 1
    """Copies of the embedder that work at the same time."""
    cpus_per_worker: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """CPUs that Ray reserves for each copy."""
    gpus_per_worker: Gpus = 0.0
    """GPUs that Ray reserves for each copy: a part of one, or whole ones. 0: it runs on CPUs."""

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
    """Okapi BM25, and how many turns a window has."""

    k1: Annotated[float, Field(ge=0, le=1000)] = 1.2
    """How much a term's further occurrences in a text still add. 0: nothing, presence alone counts."""
    b: Fraction = 0.75
    """How far scores are normalised by text length. 0: not at all; 1: fully."""
    window_turns: Count = 4
    """Turns of a window. A narrow window has half as many, a wide one twice as many."""


class FusionWeights(Section):
    """Weights of the standardised scores in `fusion: hand_weighted`."""

    dense: Weight = 0.5
    """Weight of the similarity of the best chunk, `dense_chunk_max`."""
    lexical: Weight = 1.0
    """Weight of the lexical score (see `retrieval.lexical`)."""
    date: Weight = 1.0
    """Weight of the match of dates that the question names."""

    @model_validator(mode="after")
    def _not_all_zero(self) -> "FusionWeights":
        if self.dense == 0 and self.lexical == 0:
            raise ValueError("at least one of dense and lexical must be positive")
        return self


class LikelihoodFitParams(Section):
    """Training a LoRA adapter for the likelihood score on questions whose gold sessions are known.

    The loss of a question is the cross-entropy between its gold sessions among those read and the softmax over
    hand-weighted score + `weight` · log-likelihood: the model learns what the coarse scores do not know.
    """

    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Datasets whose train questions are trained on."""
    model: Name
    """The key of `models` that training starts from."""
    questions: Count | None = None
    """The most questions, drawn with `seed`. null: all of them."""
    epochs: Count = 1
    """How often each question is seen."""
    batch_questions: Count = 4
    """Questions per step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Highest learning rate of AdamW: reached after a tenth of the steps, falling linearly to 0 at the end."""
    lora_rank: Count = 16
    """Rank of the adapter, on all linear layers. Its size grows in proportion."""
    weight: Annotated[float, Field(gt=0, le=1e3)] = 0.3
    """Weight of a nat of log-likelihood beside the standardised hand-weighted score."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the computation; the adapter itself is float32. bfloat16 is several times faster on GPUs and on
    CPUs with AMX, slower on other CPUs."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where training runs."""
    save_every: Count = 10
    """Steps between checkpoints, from which an interrupted training goes on."""


class LikelihoodParams(Section):
    """Reading the best sessions: how likely a causal LM finds the question after an excerpt of each.

    log P(question | date, excerpt): Sachan et al. 2022, "Improving Passage Retrieval with Zero-Shot Question
    Generation".
    """

    datasets: tuple[Name, ...] = ()
    """Datasets for whose questions sessions are read. Empty: none is read, and `fitted_likelihood` cannot order."""
    watch: str = "data/README.md"
    """What `fit_fusion` and `order` depend on: `data/likelihoods`, the folder of what was read, or where nothing is
    read a file that never changes. Set by `configs/likelihood/`."""
    model: Name = "base"
    """What reads: a key of `models`, any causal LM, or a key of `fits`."""
    prompt: Name = "likelihood"
    """Prompt: a file of `configs/prompts/`, without its ending."""
    sessions: Count = 5
    """How many sessions of a haystack are read: the best of the order `hand_weighted`."""
    excerpt_tokens: Count = 192
    """The longest excerpt of a session, in tokens of the model. Longer ones of fewer sessions say more than shorter
    ones of many (`docs/results/likelihood.md`)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the computation. bfloat16 is several times faster on GPUs and on CPUs with AMX, slower on other
    CPUs, and its last digits depend on the machine."""
    batch_tokens: Count = 1024
    """Tokens computed together, padding included. Decides speed and memory, and of a few values the last digit."""
    workers: Count = 1
    """Copies of the model that read at the same time."""
    cpus_per_worker: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """CPUs that Ray reserves for each copy."""
    gpus_per_worker: Gpus = 0.0
    """GPUs that Ray reserves for each copy: a part of one, or whole ones. 0: it runs on CPUs."""
    fits: dict[Name, LikelihoodFitParams] = Field(default={})
    """Models to be trained for reading, by name: stage `fit_likelihood` writes each to `models/<name>`."""


class FitParams(Section):
    """Fitting the weights of `fusion: fitted` on train questions whose gold sessions are known."""

    datasets: tuple[Name, ...]
    """Datasets whose train questions are fitted on. Composed: those of `matrix.datasets`."""
    l2: Literal["auto"] | Annotated[float, Field(gt=0, le=1e9)] = "auto"
    """Pull of each weight towards its default: l2 / 2 times the squared distance is added to the summed loss of all
    questions. `auto`: the strongest of 1 to 1000, or the default weights themselves, whose loss on held-out
    conversations is within one standard error of the least (`reports/fusion/report.md`); 30 with one conversation."""
    folds: Annotated[int, Field(ge=2, lt=2**31)] = 10
    """Folds of the cross-validation that chooses `l2` and measures the weights; a conversation is never on both
    sides."""
    default_weights: dict[ScoreName | Literal["likelihood"], Annotated[float, Field(ge=-1e6, le=1e6)]] = Field(
        default={
            "dense_chunk_max": 0.4,
            "lexical_session": 0.3,
            "lexical_narrow_max": 0.4,
            "lexical_window_max": 0.3,
            "lexical_phrase": 0.2,
            "speaker": 0.2,
            "date": 1.0,
            "relative_date": 1.0,
            "likelihood": 1.0,
        }
    )
    """Weights of the standardised scores that fitting starts from and that are used where there are no train questions.
    Scores not named: 0. That of `likelihood` is per 5 nats."""


class RetrievalParams(Section):
    """The coarse filter, which orders all sessions of a haystack; only its `likelihood` reads them with an LLM."""

    fusion: Method = "fitted"
    """What orders the sessions: one score, a sum with the `weights` below, or a sum with fitted weights.
    `fitted_likelihood` adds the likelihood of the question to the latter and needs all of `matrix.datasets` in
    `likelihood.datasets`."""
    scores: Annotated[tuple[ScoreName, ...], Field(min_length=1)] = (
        "dense_chunk_max",
        "dense_session",
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
    )
    """The scores that `fusion: fitted` weighs (what each is: `memsifter/retrieval/catalogue.py`). `dense_turn_*` and
    `dense_window_max` need `embed.units`; `m3_*` need bge-m3."""
    lexical: Literal["bm25", "m3"] = "bm25"
    """The lexical score: BM25, or the term weights of bge-m3."""
    weights: FusionWeights
    """Weights of `fusion: hand_weighted`."""
    bm25: Bm25Params
    """BM25."""
    likelihood: LikelihoodParams
    """Reading the best sessions with a causal LM."""
    fit: FitParams
    """Fitting of `fusion: fitted`."""

    @model_validator(mode="after")
    def _scores_are_distinct(self) -> "RetrievalParams":
        if len(set(self.scores)) < len(self.scores):
            raise ValueError("scores names one more than once")
        return self

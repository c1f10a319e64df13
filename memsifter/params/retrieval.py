"""The coarse filter."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, Fraction, Name, Section


class EmbedParams(Section):
    """Dense scores. A session longer than `window_tokens` is embedded as overlapping windows and max-pooled."""

    model: Name
    model_class: Literal["encoder-only-base", "encoder-only-m3", "decoder-only-base"]
    pooling: Literal["cls", "mean", "last_token"]
    query_instruction: str
    window_tokens: Annotated[int, Field(ge=16)]
    window_overlap: Annotated[int, Field(ge=0)]
    batch_size: Count
    use_fp16: bool
    workers: Count
    cpus_per_worker: Annotated[float, Field(gt=0)]
    gpus_per_worker: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _overlap_fits(self) -> "EmbedParams":
        if self.window_overlap >= self.window_tokens:
            raise ValueError("window_overlap must be smaller than window_tokens")
        return self


class Bm25Params(Section):
    """Okapi BM25 of whole sessions and of windows of `window_turns` turns."""

    k1: Annotated[float, Field(ge=0)]
    b: Fraction
    window_turns: Count


class FusionWeights(Section):
    """Weights of the standardised scores in `hybrid`."""

    dense: Annotated[float, Field(ge=0)]
    lexical: Annotated[float, Field(ge=0)]
    date: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _not_all_zero(self) -> "FusionWeights":
        if self.dense == 0 and self.lexical == 0:
            raise ValueError("at least one of dense and lexical must be positive")
        return self


class RetrievalParams(Section):
    """The coarse filter: which scores order the sessions."""

    method: Literal["dense", "lexical", "hybrid"]
    lexical: Literal["bm25", "m3"]
    weights: FusionWeights
    bm25: Bm25Params

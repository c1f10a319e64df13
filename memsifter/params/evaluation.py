"""Metrics, and what DVC's stages are multiplied by."""

from typing import Annotated

from pydantic import Field

from memsifter.corpus.sessions import Split
from memsifter.params.base import Count, Name, Section
from memsifter.params.llm import JudgeParams


class EvaluateParams(Section):
    """Metrics, on the questions of `split`."""

    split: Split
    ks: Annotated[tuple[Count, ...], Field(min_length=1)]
    bootstrap_samples: Annotated[int, Field(ge=100)]
    judge: JudgeParams | None


class MatrixParams(Section):
    """What DVC's stages are multiplied by."""

    rankers: Annotated[tuple[Name, ...], Field(min_length=1)]
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]

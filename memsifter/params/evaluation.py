"""Metrics, and the rankers and datasets that the stages run for."""

from typing import Annotated

from pydantic import Field

from memsifter.corpus.sessions import Split
from memsifter.params.base import Count, Name, Section
from memsifter.params.llm import JudgeParams


class EvaluateParams(Section):
    """How rankings and answers are measured."""

    split: Split = "test"
    """The split whose questions are measured. `rank.splits` and `chat.splits` must contain it."""
    ks: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 3, 5, 10)
    """Cut-offs, in sessions, of NDCG@k, recall@k and the other ranking metrics."""
    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    """Resamples of the questions from which a confidence interval is computed. More: smoother bounds, more time."""
    judge: JudgeParams | None = None
    """An LLM that judges whether an answer agrees with the reference. null: string metrics only."""


class MatrixParams(Section):
    """What the stages run for: `rank`, `chat` and `evaluate` for every ranker and dataset."""

    rankers: Annotated[tuple[Name, ...], Field(min_length=1)] = ("base",)
    """Names of `models` and of `rounds`."""
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Names of `datasets`. Composed: all of them."""

"""From one row per question to a table of means with confidence intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memsifter.corpus.sessions import ALL_CATEGORIES
from memsifter.metrics.bootstrap import bootstrap_interval


@dataclass(frozen=True, slots=True)
class QuestionResult:
    """The metrics of one question. A metric that is not defined for it is absent (no gold sessions: no recall)."""

    question_id: str
    category: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """Mean of one metric over the `count` questions of a category that have it, with its 95 % confidence interval."""

    category: str
    metric: str
    mean: float
    low: float
    high: float
    count: int


def summarize(rows: Sequence[QuestionResult], samples: int, seed: int) -> list[SummaryRow]:
    """Mean and bootstrap interval of every metric, over all questions and per category.

    Category "all" comes first, then the categories in alphabetical order; metrics keep the order in which they first
    appear. A metric that no question of a category has gets no row there.

    Args:
        rows: one per question; their order matters to the resampling, so keep it fixed.
        samples: bootstrap samples.
        seed: seed of the resampling; each row of the table is resampled on its own.

    Raises:
        ValueError: no rows, a repeated question id, a category named "all", or a value that is not finite.
    """
    _check(rows)
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.values))
    categories = sorted({row.category for row in rows})
    groups = {ALL_CATEGORIES: list(rows)} | {name: [row for row in rows if row.category == name] for name in categories}
    return [
        _summary_row(category, metric, values, samples, seed)
        for category, members in groups.items()
        for metric in metrics
        if (values := [row.values[metric] for row in members if metric in row.values])
    ]


def _summary_row(category: str, metric: str, values: list[float], samples: int, seed: int) -> SummaryRow:
    interval = bootstrap_interval(values, samples, seed)
    return SummaryRow(category, metric, interval.mean, interval.low, interval.high, len(values))


def _check(rows: Sequence[QuestionResult]) -> None:
    if not rows:
        raise ValueError("no question results to summarise")
    seen: set[str] = set()
    for row in rows:
        if row.question_id in seen:
            raise ValueError(f"question {row.question_id!r} appears twice; give one result per question")
        seen.add(row.question_id)
        if row.category == ALL_CATEGORIES:
            raise ValueError(
                f"question {row.question_id!r}: the category name {ALL_CATEGORIES!r} stands for all questions"
            )

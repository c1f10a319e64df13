"""How good the methods are, by dataset and by category of question, with intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from memsifter.corpus.sessions import ALL_CATEGORIES
from memsifter.io import paths
from memsifter.io.paths import results_directory
from memsifter.metrics.bootstrap import Interval
from memsifter.metrics.report import COMPARED, SHOWN, sort_methods
from memsifter.metrics.results import compare_methods, read_table
from memsifter.metrics.summary import SummaryRow
from memsifter.params import Params
from memsifter.report.charts import draw_intervals, draw_lines
from memsifter.report.series import read_series


@dataclass(frozen=True)
class Difference:
    """A metric of `method` minus that of `baseline` on the same questions. `clear`: the interval is beside 0."""

    method: str
    baseline: str
    interval: Interval

    @property
    def clear(self) -> bool:
        """Whether the 95 % interval leaves 0 out."""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class Table:
    """Cells by row and column; a metric that was not measured has no cell."""

    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, SummaryRow]]


@dataclass(frozen=True)
class Quality:
    """One dataset: all methods over all questions, the main metric by category, and who differs from whom."""

    dataset: str
    questions: int
    metric: str
    overall: Table
    categories: Table
    differences: tuple[Difference, ...]
    intervals: Markup
    cutoffs: Markup


def measure_quality(params: Params) -> list[Quality]:
    """Read the results of every dataset of `matrix.datasets`.

    Raises:
        MemSifterError: results are missing.
    """
    return [_measure(params, dataset) for dataset in params.matrix.datasets]


def _measure(params: Params, dataset: str) -> Quality:
    folders = {method: results_directory(method, dataset) for method in ("coarse", *params.matrix.rankers)}
    tables = {method: rows for folder in folders.values() for method, rows in read_table(folder).items()}
    methods = sort_methods(tables)
    overall = {
        method: {row.metric: row for row in tables[method] if row.category == ALL_CATEGORIES} for method in methods
    }
    shown = [name for name in SHOWN if any(name in rows for rows in overall.values())]
    main = next((name for name in COMPARED if name in shown), shown[0])
    categories = sorted({row.category for row in tables["coarse"] if row.category != ALL_CATEGORIES})
    by_category = {
        category: {
            method: row
            for method in methods
            for row in tables[method]
            if (row.category, row.metric) == (category, main)
        }
        for category in categories
    }
    named = {
        method: {SHOWN[name]: row for name, row in rows.items() if name in shown} for method, rows in overall.items()
    }
    curves = read_series(paths.ROOT / "reports" / "retrieval.csv", "method", "k", "ndcg", dataset=dataset)
    measured = {method: rows[main] for method, rows in overall.items() if main in rows}
    return Quality(
        dataset=dataset,
        questions=max(row.count for rows in overall.values() for row in rows.values()),
        metric=SHOWN[main],
        overall=Table(tuple(SHOWN[name] for name in shown), named),
        categories=Table(tuple(methods), by_category),
        differences=tuple(_compare(params, folders, main)) if main in COMPARED else (),
        intervals=draw_intervals(
            {method: Interval(row.mean, row.low, row.high) for method, row in measured.items()}, SHOWN[main]
        ),
        cutoffs=draw_lines(curves, "cut-off k", "NDCG@k") if curves else Markup(),
    )


def _compare(params: Params, folders: Mapping[str, Path], metric: str) -> Iterator[Difference]:
    """Every ranker with the coarse filter, and a trained one with what its training started from."""
    for ranker in params.matrix.rankers:
        baselines = ["coarse"]
        if ranker in params.rounds:
            baselines.append(params.rounds[ranker].start_from)
        for baseline in baselines:
            interval = compare_methods(
                folders, ranker, baseline, metric, params.evaluate.bootstrap_samples, params.seed
            )
            yield Difference(ranker, baseline, interval)

"""How good the methods are, by dataset and category of question, and what each training round gained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from memsifter.corpus.sessions import ALL_CATEGORIES
from memsifter.io import paths
from memsifter.io.files import read_json
from memsifter.io.paths import rank_fusion_file, results_directory, training_report_directory
from memsifter.metrics.bootstrap import Interval
from memsifter.metrics.results import ORDERS_FOLDER, compare_methods, count_questions, read_csv
from memsifter.metrics.summary import (
    COMPARED,
    SHOWN,
    compared_rankers,
    order_methods,
    order_rankers,
    read_methods,
    shown_metrics,
    undefined_metrics,
)
from memsifter.params import Params
from memsifter.ranking.weight import read_rank_fusion
from memsifter.report.charts import draw_intervals, draw_lines

# A held-out measure of validation.json, and what the page calls it.
_GAINS = {"reward": "reward", "ndcg": "NDCG", "well_formed": "well-formed outputs"}


@dataclass(frozen=True)
class Difference:
    """A metric of `method` minus that of `baseline` on the same questions."""

    method: str
    baseline: str
    interval: Interval

    @property
    def clear(self) -> bool:
        """Whether the 95 % interval leaves 0 out."""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class Table:
    """Cells (`mean`, `low`, `high`, `count`) by row and column; a metric that was not measured has no cell."""

    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Quality:
    """One dataset: all methods over all questions, the main metric by category, and who differs from whom.

    `fusions` says of each ranker how its scores and the coarse ones became a ranking.
    """

    dataset: str
    questions: int
    metric: str
    overall: Table
    undefined: tuple[str, ...]
    categories: Table
    differences: tuple[Difference, ...]
    fusions: Mapping[str, str]
    intervals: Markup
    cutoffs: Markup


@dataclass(frozen=True)
class Gain:
    """A validation measure before and after training; the bounds are those of the paired 95 % interval."""

    name: str
    first: float
    last: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Training:
    """One round."""

    name: str
    start_from: str
    questions: int
    first_step: int
    last_step: int
    gains: tuple[Gain, ...]
    rewards: Markup
    validation: Markup


def measure_quality(params: Params) -> list[Quality]:
    """Read the results of every dataset of `matrix.datasets`.

    Raises:
        MemSifterError: results are missing.
    """
    rankers = order_rankers(params.matrix.rankers, params.rounds)
    folders = {
        dataset: {method: results_directory(method, dataset) for method in (ORDERS_FOLDER, *rankers)}
        for dataset in params.matrix.datasets
    }
    tables = {dataset: read_methods(folders[dataset]) for dataset in folders}
    order = order_methods((name for table in tables.values() for name in table["method"]), rankers)
    return [_measure(params, dataset, folders[dataset], table, order) for dataset, table in tables.items()]


def describe_training(params: Params) -> list[Training]:
    """Read the training reports of every round.

    Raises:
        MemSifterError: a report is missing.
    """
    return [_describe(name, item.start_from) for name, item in params.rounds.items()]


def _measure(
    params: Params, dataset: str, folders: Mapping[str, Path], table: pd.DataFrame, order: Sequence[str]
) -> Quality:
    methods = list(table["method"].unique())
    overall = table[table["category"] == ALL_CATEGORIES]
    shown = shown_metrics(overall)
    main = next((name for name in (*COMPARED, *shown) if name in shown), COMPARED[0])
    questions = count_questions(folders[ORDERS_FOLDER])
    measured = overall[overall["metric"] == main].set_index("method")
    labelled = overall[overall["metric"].isin(shown)].replace({"metric": SHOWN})
    by_category = table[(table["metric"] == main) & (table["category"] != ALL_CATEGORIES)].sort_values(
        "category", kind="stable"
    )
    return Quality(
        dataset=dataset,
        questions=questions,
        metric=SHOWN[main],
        overall=Table(tuple(SHOWN[name] for name in shown), _cells(labelled, "method", "metric")),
        undefined=tuple(undefined_metrics(overall, shown, questions)),
        categories=Table(tuple(methods), _cells(by_category, "category", "method")),
        differences=tuple(_compare(params, folders, main)) if main in COMPARED and main in shown else (),
        fusions={
            name: read_rank_fusion(rank_fusion_file(name, dataset)).describe()
            for name in folders
            if name != ORDERS_FOLDER
        },
        intervals=Markup() if measured.empty else draw_intervals(measured, SHOWN[main], order),
        cutoffs=_draw_cutoffs(dataset, methods, order),
    )


def _cells(table: pd.DataFrame, rows: str, columns: str) -> dict[str, dict[str, Any]]:
    cells: dict[str, dict[str, Any]] = {}
    for cell in table.itertuples(index=False):
        cells.setdefault(getattr(cell, rows), {})[getattr(cell, columns)] = cell
    return cells


def _draw_cutoffs(dataset: str, methods: list[str], order: Sequence[str]) -> Markup:
    curves = read_csv(paths.ROOT / "reports" / "retrieval.csv", ["dataset", "method"])
    curves = curves[curves["dataset"] == dataset]
    if curves.empty:
        return Markup()
    lines = curves.pivot(index="k", columns="method", values="ndcg").reindex(columns=methods)
    return draw_lines(lines, "cut-off k", "NDCG@k", order)


def _compare(params: Params, folders: Mapping[str, Path], metric: str) -> Iterator[Difference]:
    """Every ranker with the coarse filter, and a trained one with what its training started from."""
    samples, seed = params.evaluate.bootstrap_samples, params.seed
    for ranker in compared_rankers(folders):
        baselines = ["coarse", *([params.rounds[ranker].start_from] if ranker in params.rounds else [])]
        for baseline in baselines:
            yield Difference(ranker, baseline, compare_methods(folders, ranker, baseline, metric, samples, seed))


def _describe(name: str, start_from: str) -> Training:
    directory = training_report_directory(name)
    validation = read_json(directory / "validation.json")
    points = read_csv(directory / "curve.csv", ["series"])
    series = list(points["series"].unique())
    curves = points.pivot(index="step", columns="series", values="value")
    validated = [name for name in series if name.startswith("validation")]
    return Training(
        name=name,
        start_from=start_from,
        questions=validation["questions"],
        first_step=validation["first_step"],
        last_step=validation["last_step"],
        gains=tuple(_gain(label, validation[key]) for key, label in _GAINS.items()),
        rewards=draw_lines(
            curves[[name for name in series if name not in validated]], "step", "of the sampled rankings", series
        ),
        validation=draw_lines(curves[validated], "step", "on held-out questions", series),
    )


def _gain(label: str, values: Mapping[str, float]) -> Gain:
    return Gain(label, values["first"], values["last"], values["gain"], values["gain_low"], values["gain_high"])

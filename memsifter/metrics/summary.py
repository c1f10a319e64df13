"""What a person reads: one Markdown table per dataset, every method side by side, and the curves over the cut-offs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from memsifter.corpus.sessions import ALL_CATEGORIES
from memsifter.io.display import csv_cell
from memsifter.io.files import read_json
from memsifter.metrics.results import (
    FUSION_WEIGHT,
    ORDERS_FOLDER,
    compare_methods,
    count_questions,
    read_metric,
    read_table,
)
from memsifter.params import METHODS

Results = Mapping[str, Mapping[str, Path]]
"""Dataset -> ranker -> folder of results; `orders` is that of the coarse orders, which give no answers."""

# Metrics that people compare, and what tables call them.
SHOWN = {
    "ndcg_at_1": "NDCG@1",
    "ndcg_at_5": "NDCG@5",
    "ndcg_at_10": "NDCG@10",
    "recall_at_10": "recall@10",
    "recall_all_at_10": "recall_all@10",
    "hit_at_10": "hit@10",
    "token_f1": "answer F1",
    "exact_match": "answer EM",
    "judge": "judged right",
    "abstention": "abstained",
}
# The difference to the baseline is taken in the first of them that was measured.
COMPARED = ("ndcg_at_10", "ndcg_at_5", "ndcg_at_1")


def order_rankers(rankers: Iterable[str], rounds: Iterable[str]) -> list[str]:
    """The rankers in the order of the pipeline: those that are not trained here, then the rounds in their order."""
    trained = list(rounds)
    return sorted(rankers, key=lambda name: trained.index(name) if name in trained else -1)


def order_methods(methods: Iterable[str], rankers: Sequence[str]) -> list[str]:
    """The methods in the order of the pipeline: `METHODS`, `coarse`, then the rankers as given."""
    present = set(methods)
    return [name for name in dict.fromkeys((*METHODS, "coarse", *rankers)) if name in present]


def read_methods(folders: Mapping[str, Path]) -> pd.DataFrame:
    """The tables of a dataset's methods below each other, as `order_methods` orders them.

    A ranker of the name of a coarse order is that order with answers; its rows take the place of those without.

    Args:
        folders: folder of results by ranker, and that of the coarse orders.
    """
    orders = read_table(folders[ORDERS_FOLDER])
    rankers = [name for name in folders if name != ORDERS_FOLDER]
    tables = [orders[~orders["method"].isin(rankers)], *(read_table(folders[ranker]) for ranker in rankers)]
    rows = pd.concat(tables, ignore_index=True)
    place = {name: number for number, name in enumerate(order_methods(rows["method"], rankers))}
    return rows.sort_values("method", key=lambda column: column.map(place), kind="stable", ignore_index=True)


def shown_metrics(overall: pd.DataFrame) -> list[str]:
    """Those of `SHOWN` that were measured; NDCG@5 stands in for NDCG@10 where that was not."""
    measured = set(overall["metric"])
    hidden = {"ndcg_at_5"} if "ndcg_at_10" in measured else set()
    return [name for name in SHOWN if name in measured - hidden]


def render_summary(results: Results, samples: int, seed: int) -> str:
    """Markdown: per dataset a table with 95 % intervals, and each ranker's difference to the coarse order."""
    parts = []
    for dataset, folders in results.items():
        table = read_methods(folders)
        overall = table[table["category"] == ALL_CATEGORIES]
        shown = shown_metrics(overall)
        cells = {(row.method, row.metric): _cell(row.mean, row.low, row.high) for row in overall.itertuples()}
        body = [[method, *(cells.get((method, name), "") for name in shown)] for method in overall["method"].unique()]
        count = count_questions(folders[ORDERS_FOLDER])
        lines = [f"## {dataset}: {count} questions", ""]
        lines.append(tabulate(body, ["method", *(SHOWN[name] for name in shown)], "github", disable_numparse=True))
        lines += ["", "Mean [95 % bootstrap interval over questions]. `coarse` is the one of the rows above it that"]
        lines += ["`retrieval.fusion` names; the rankers start from its order."]
        lines += undefined_metrics(overall, shown, count)
        lines += _weights(folders)
        lines += _differences(folders, shown, samples, seed)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def render_curve(results: Results) -> str:
    """CSV of NDCG and recall by cut-off: dataset, method, k, ndcg, recall.

    Rows go by method, as `order_methods` orders those of all datasets: a plot styles methods in the order of the rows.
    """
    curves = []
    for dataset, folders in results.items():
        table = read_methods(folders)
        overall = table[table["category"] == ALL_CATEGORIES]
        named = overall["metric"].str.extract(r"^(?P<name>ndcg|recall)_at_(?P<k>\d+)$").dropna()
        points = named.join(overall[["method", "mean"]]).astype({"k": int})
        curve = points.pivot(index=["method", "k"], columns="name", values="mean").reset_index()
        curves.append(curve.assign(dataset=dataset))
    columns = ["dataset", "method", "k", "ndcg", "recall"]  # also where no question has gold sessions
    rows = pd.concat(curves).reindex(columns=columns)
    order = order_methods(rows["method"], [name for folders in results.values() for name in folders])
    rows = rows.sort_values("method", key=lambda column: column.map(order.index), kind="stable")
    return str(rows.map(csv_cell).to_csv(index=False, lineterminator="\n"))


def undefined_metrics(overall: pd.DataFrame, shown: list[str], count: int) -> list[str]:
    """Which of the metrics are the mean of fewer than `count` questions, a line per number of questions.

    The line names the methods where others have the metric for another number of questions.
    """
    alike: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for metric in shown:
        counts = overall[overall["metric"] == metric].set_index("method")["count"]
        for number in counts[counts < count].unique():
            methods = () if (counts == number).all() else tuple(counts.index[counts == number])
            alike.setdefault((int(number), methods), []).append(SHOWN[metric])
    lines = []
    for (number, methods), names in alike.items():
        whose = f" of {', '.join(f'`{method}`' for method in methods)}" if methods else ""
        lines.append(f"{', '.join(names)}{whose}: defined for {number} of {count} questions.")
    return lines


def _differences(folders: Mapping[str, Path], shown: list[str], samples: int, seed: int) -> list[str]:
    lines = []
    for ranker in compared_rankers(folders):
        for metric in compared_metrics(folders, ranker, shown):
            interval = compare_methods(folders, ranker, "coarse", metric, samples, seed)
            lines.append(
                f"{SHOWN[metric]} of `{ranker}` minus `coarse`: "
                f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}], paired."
            )
    return lines


def compared_rankers(folders: Mapping[str, Path]) -> list[str]:
    """The rankers that are compared with the coarse order: all others."""
    return [name for name in folders if name not in (ORDERS_FOLDER, "coarse")]


def compared_metrics(folders: Mapping[str, Path], ranker: str, shown: list[str]) -> list[str]:
    """In what: the first of `COMPARED`, NDCG@1, and token F1 where both have answered a question."""
    main = next((name for name in COMPARED if name in shown), None)
    metrics = [metric for metric in dict.fromkeys([main, "ndcg_at_1"]) if metric in shown]
    if "coarse" in folders:
        answered, others = (read_metric(folders[name], name, "token_f1") for name in ("coarse", ranker))
        metrics += ["token_f1"] * (not answered.keys().isdisjoint(others))
    return metrics


def _weights(folders: Mapping[str, Path]) -> list[str]:
    """How much each ranker's score counts beside the coarse score, where the two are fused."""
    figures = {ranker: read_json(folders[ranker] / "metrics.json") for ranker in folders if ranker != ORDERS_FOLDER}
    parts = [f"{values[FUSION_WEIGHT]:g} in `{name}`" for name, values in figures.items() if FUSION_WEIGHT in values]
    if not parts:
        return []
    return [f"Weight of the ranker's score beside the coarse score (0: the coarse order stays): {', '.join(parts)}."]


def _cell(mean: float, low: float, high: float) -> str:
    return f"{_short(mean, 3)} [{_short(low, 2)} {_short(high, 2)}]"


def _short(value: float, digits: int) -> str:
    """Without the leading zero, as such tables are printed: .812; 1 stays 1.00."""
    return f"{value:.{digits}f}".removeprefix("0")

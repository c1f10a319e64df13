"""The summary that a person reads: one Markdown table per dataset, every method side by side."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from tabulate import tabulate

from memsifter.corpus.sessions import ALL_CATEGORIES
from memsifter.metrics.results import compare_methods, read_table
from memsifter.metrics.summary import SummaryRow
from memsifter.params import METHODS

Results = Mapping[str, Mapping[str, Path]]
"""Dataset -> method -> folder of results; the method `coarse` also holds every way to order by the coarse scores."""

# Metrics that people compare, and what tables call them.
SHOWN = {
    "ndcg_at_1": "NDCG@1",
    "ndcg_at_5": "NDCG@5",
    "ndcg_at_10": "NDCG@10",
    "recall_at_10": "recall@10",
    "token_f1": "answer F1",
    "exact_match": "answer EM",
    "judge": "judged right",
}
# The difference to the baseline is taken in the first of them that was measured.
COMPARED = ("ndcg_at_10", "ndcg_at_5", "ndcg_at_1")
_ORDER = (*METHODS, "coarse")


def render_summary(results: Results, samples: int, seed: int) -> str:
    """Markdown: per dataset a table with 95 % intervals, and each ranker's difference to the coarse filter."""
    parts = []
    for dataset, folders in results.items():
        tables = {method: rows for folder in folders.values() for method, rows in read_table(folder).items()}
        overall = {
            method: {row.metric: row for row in tables[method] if row.category == ALL_CATEGORIES}
            for method in sort_methods(tables)
        }
        shown = [name for name in SHOWN if any(name in rows for rows in overall.values())]
        body = [[method, *(_cell(rows.get(name)) for name in shown)] for method, rows in overall.items()]
        count = max(row.count for rows in overall.values() for row in rows.values())
        lines = [f"## {dataset}: {count} questions", ""]
        lines.append(tabulate(body, ["method", *(SHOWN[name] for name in shown)], "github", disable_numparse=True))
        lines += ["", "Mean [95 % bootstrap interval over questions]. `coarse` is the one of the rows above it that"]
        lines += ["`retrieval.fusion` names; the rankers start from its order."]
        lines += _differences(folders, shown, samples, seed)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def render_curve(results: Results) -> str:
    """CSV of NDCG and recall by cut-off: dataset, method, k, ndcg, recall."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["dataset", "method", "k", "ndcg", "recall"])
    for dataset, folders in results.items():
        tables = {method: rows for folder in folders.values() for method, rows in read_table(folder).items()}
        for method in sort_methods(tables):
            means = {row.metric: row.mean for row in tables[method] if row.category == ALL_CATEGORIES}
            cutoffs = [int(name.removeprefix("ndcg_at_")) for name in means if name.startswith("ndcg_at_")]
            writer.writerows(
                [dataset, method, k, means[f"ndcg_at_{k}"], means[f"recall_at_{k}"]] for k in sorted(cutoffs)
            )
    return stream.getvalue()


def _differences(folders: Mapping[str, Path], shown: list[str], samples: int, seed: int) -> list[str]:
    metric = next((name for name in COMPARED if name in shown), None)
    if metric is None:
        return []
    lines = []
    for ranker in folders:
        if ranker != "coarse":
            interval = compare_methods(folders, ranker, "coarse", metric, samples, seed)
            lines.append(
                f"{SHOWN[metric]} of `{ranker}` minus `coarse`: "
                f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}], paired."
            )
    return lines


def sort_methods(tables: Mapping[str, list[SummaryRow]]) -> list[str]:
    """The parts of the coarse filter, the coarse filter, then the rankers in the order in which they train."""
    return [name for name in _ORDER if name in tables] + [name for name in tables if name not in _ORDER]


def _cell(row: SummaryRow | None) -> str:
    return "" if row is None else f"{_short(row.mean, 3)} [{_short(row.low, 2)} {_short(row.high, 2)}]"


def _short(value: float, digits: int) -> str:
    """Without the leading zero, as such tables are printed: .812; 1 stays 1.00."""
    return f"{value:.{digits}f}".removeprefix("0")

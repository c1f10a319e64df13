"""Results on disk: per question, and as a table of means with intervals."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from memsifter.corpus.sessions import ALL_CATEGORIES
from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_file, read_parquet, write_json, write_parquet
from memsifter.metrics.bootstrap import Interval, paired_bootstrap_interval
from memsifter.metrics.summary import QuestionResult, SummaryRow, summarize

_KEYS = ("method", "question_id", "category")
_COLUMNS = ("method", "category", "metric", "mean", "low", "high", "count")

# What `dvc metrics` shows; the table has all metrics. Metrics at a cut-off are matched without it.
_HEADLINES = ("ndcg", "recall", "mrr", "map", "exact_match", "token_f1", "bleu", "rouge_l", "judge")


def write_results(
    directory: Path, results: Mapping[str, Sequence[QuestionResult]], samples: int, seed: int
) -> dict[str, float]:
    """Write `questions.parquet`, `table.csv` and `metrics.json`.

    Args:
        directory: Where to write.
        results: Per-question results by method; the first method is the one that `metrics.json` is about.
        samples: Bootstrap samples.
        seed: Bootstrap seed.

    Returns:
        The content of `metrics.json`: headline metrics over all questions, by name.
    """
    metrics = dict.fromkeys(name for rows in results.values() for row in rows for name in row.values)
    schema = pa.schema([(name, pa.string()) for name in _KEYS] + [(name, pa.float64()) for name in metrics])
    flat = [
        {"method": method, "question_id": row.question_id, "category": row.category, **row.values}
        for method, rows in results.items()
        for row in rows
    ]
    write_parquet(directory / "questions.parquet", flat, schema)
    tables = {method: summarize(rows, samples, seed) for method, rows in results.items()}
    with atomic_file(directory / "table.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for method, table in tables.items():
            writer.writerows([method, *(getattr(row, name) for name in _COLUMNS[1:])] for row in table)
    first = next(iter(tables.values()))
    headlines = {row.metric: row.mean for row in first if row.category == ALL_CATEGORIES and _is_headline(row.metric)}
    write_json(directory / "metrics.json", headlines)
    return headlines


def read_table(directory: Path) -> dict[str, list[SummaryRow]]:
    """The rows of `table.csv` by method.

    Raises:
        MemSifterError: the file is missing.
    """
    path = directory / "table.csv"
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; run the stage that writes it (dvc repro)")
    tables: dict[str, list[SummaryRow]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
            entry = SummaryRow(row["category"], row["metric"], mean, low, high, int(row["count"]))
            tables.setdefault(row["method"], []).append(entry)
    return tables


def read_metric(directory: Path, method: str, metric: str) -> dict[str, float]:
    """One metric of one method by question id; questions that do not have it are absent."""
    table = read_parquet(directory / "questions.parquet", ["method", "question_id", metric])
    return {
        row["question_id"]: row[metric]
        for row in table.to_pylist()
        if row["method"] == method and row[metric] is not None
    }


def scope_metrics(metrics: Mapping[str, float], *scope: str) -> dict[str, float]:
    """Metrics under the name that MLflow compares them by: split, dataset, metric (`test/sample/ndcg_at_10`)."""
    return {"/".join((*scope, name)): value for name, value in metrics.items()}


def compare_methods(
    folders: Mapping[str, Path], method: str, baseline: str, metric: str, samples: int, seed: int
) -> Interval:
    """Paired bootstrap interval of a metric of `method` minus that of `baseline`, question by question.

    Args:
        folders: Folder of results by method.
        method: A key of `folders`.
        baseline: Another one.
        metric: As in `questions.parquet`.
        samples: Bootstrap samples.
        seed: Bootstrap seed.

    Raises:
        MemSifterError: results are missing, or a question of the baseline has no such metric in `method`.
    """
    reference = read_metric(folders[baseline], baseline, metric)
    values = read_metric(folders[method], method, metric)
    if missing := [name for name in reference if name not in values]:
        raise MemSifterError(f"{folders[method]}: question {missing[0]!r} has no {metric}; repeat the evaluation")
    pairs = [(values[name], reference[name]) for name in reference]
    return paired_bootstrap_interval([value for value, _ in pairs], [value for _, value in pairs], samples, seed)


def _is_headline(metric: str) -> bool:
    return metric.partition("_at_")[0] in _HEADLINES

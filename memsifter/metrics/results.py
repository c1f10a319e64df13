"""Results: a frame with a row per question, and the table of means with confidence intervals that is made of it.

`results/<ranker>/<dataset>/`, and `results/orders/<dataset>/` for the coarse orders, hold `questions.parquet` (method,
question_id, category and a column per metric, null where it is not defined), `table.csv` (method, category, metric,
mean, low, high, count) and `metrics.json` (headline metrics over all questions).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from memsifter.corpus.sessions import ALL_CATEGORIES, Question
from memsifter.errors import MemSifterError
from memsifter.io.display import csv_cell, read_csv_cell
from memsifter.io.files import atomic_file, read_parquet, write_json, write_table
from memsifter.metrics.bootstrap import Interval, bootstrap_interval, paired_bootstrap_interval
from memsifter.metrics.retrieval import retrieval_metrics

_KEYS = ["method", "question_id", "category"]
_COLUMNS = ["method", "category", "metric", "mean", "low", "high", "count"]
# What `dvc metrics` shows; the table has all metrics. Metrics at a cut-off are matched without it.
_OF_ANSWERS = frozenset({"exact_match", "token_f1", "bleu", "rouge_l", "abstention", "judge"})
_HEADLINES = frozenset({"ndcg", "recall", "recall_all", "hit", "mrr", "map"} | _OF_ANSWERS)


ORDERS_FOLDER = "orders"
"""The folder of `results` that holds the coarse orders, beside one for each ranker."""

FUSION_WEIGHT = "fusion_weight"
"""In `metrics.json` beside the metrics: the weight of the ranker's score beside the coarse score, if they are fused."""


def measure_rankings(
    questions: Iterable[Question],
    rankings: Mapping[str, Sequence[str]],
    ks: Sequence[int],
    answer_scores: Mapping[str, Mapping[str, float | None]] | None = None,
) -> pd.DataFrame:
    """Retrieval metrics of every question, and its answer's scores beside them.

    A question without gold sessions has no retrieval metrics; it still counts for its answer.

    Args:
        questions: the questions of the split that is measured.
        rankings: complete rankings (session ids, best first) by question id.
        ks: cut-offs.
        answer_scores: scores of the answers by question id; None where one is not defined.

    Returns:
        A row per question in their order: `question_id`, `category`, and a float64 column per metric that any question
        has, NaN where it is not defined.

    Raises:
        MemSifterError: a question has no ranking or no answer, or a score is NaN.
    """
    rows = []
    for question in questions:
        name = question.question_id
        if name not in rankings:
            raise MemSifterError(f"question {name!r} has no ranking; repeat rank for its split")
        if answer_scores is not None and name not in answer_scores:
            raise MemSifterError(f"question {name!r} has no answer; repeat chat for its split")
        gold = set(question.answer_session_ids)
        values = retrieval_metrics(gold, rankings[name], ks) if gold else {}
        values |= _defined_scores(name, answer_scores[name]) if answer_scores else {}
        rows.append({"question_id": name, "category": question.category, **values})
    return pd.DataFrame(rows)


def _defined_scores(name: str, scores: Mapping[str, float | None]) -> dict[str, float]:
    defined = {metric: value for metric, value in scores.items() if value is not None}
    if broken := [metric for metric, value in defined.items() if not math.isfinite(value)]:
        raise MemSifterError(
            f"question {name!r}: {broken[0]} is {defined[broken[0]]}; a score that is not defined must be absent"
        )
    return defined


def summarize(questions: pd.DataFrame, samples: int, seed: int) -> pd.DataFrame:
    """Mean and 95 % bootstrap interval of every metric, over all questions and per category.

    Args:
        questions: as `measure_rankings` makes it. The order of the rows matters to the resampling.
        samples: bootstrap samples.
        seed: seed of the resampling; each row of the table is resampled on its own.

    Returns:
        Columns `category`, `metric`, `mean`, `low`, `high` and `count`, the number of questions that have the metric.
        Category "all" comes first, then the categories in alphabetical order; metrics keep the order of the columns. A
        metric that no question of a category has gets no row there.

    Raises:
        ValueError: no questions, a repeated question id, a category named "all", or a value that is not finite.
    """
    _check(questions)
    groups = {ALL_CATEGORIES: questions, **dict(iter(questions.groupby("category")))}
    rows = [
        (category, metric, interval.mean, interval.low, interval.high, count)
        for category, members in groups.items()
        for metric, interval, count in _intervals(members, samples, seed)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS[1:])


def _intervals(questions: pd.DataFrame, samples: int, seed: int) -> Iterator[tuple[str, Interval, int]]:
    for metric in questions.columns.drop(["question_id", "category"]):
        values = questions[metric].dropna().to_numpy()
        if len(values):
            yield metric, bootstrap_interval(values, samples, seed), len(values)


def _check(questions: pd.DataFrame) -> None:
    if questions.empty:
        raise ValueError("no question results to summarise")
    repeated = questions.loc[questions["question_id"].duplicated(), "question_id"]
    if len(repeated):
        raise ValueError(f"question {repeated.iloc[0]!r} appears twice; give one result per question")
    misnamed = questions.loc[questions["category"] == ALL_CATEGORIES, "question_id"]
    if len(misnamed):
        raise ValueError(
            f"question {misnamed.iloc[0]!r}: the category name {ALL_CATEGORIES!r} stands for all questions"
        )


def write_results(
    directory: Path,
    results: Mapping[str, pd.DataFrame],
    samples: int,
    seed: int,
    about: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Write `questions.parquet`, `table.csv` and `metrics.json`.

    Args:
        directory: where to write.
        results: frames of `measure_rankings` by method; the first method is the one that `metrics.json` is about.
        samples: bootstrap samples.
        seed: bootstrap seed.
        about: further figures for `metrics.json`.

    Returns:
        The content of `metrics.json`: headline metrics over all questions, by name.
    """
    tables = [summarize(frame, samples, seed).assign(method=method) for method, frame in results.items()]
    questions = pd.concat([frame.assign(method=method) for method, frame in results.items()], ignore_index=True)
    metrics = questions.columns.drop(_KEYS)
    schema = pa.schema([(name, pa.string()) for name in _KEYS] + [(name, pa.float64()) for name in metrics])
    table = pa.Table.from_pandas(questions, schema=schema, preserve_index=False).replace_schema_metadata(None)
    write_table(directory / "questions.parquet", table)
    with atomic_file(directory / "table.csv") as temporary:
        pd.concat(tables)[_COLUMNS].map(csv_cell).to_csv(temporary, index=False, lineterminator="\n")
    overall = tables[0][tables[0]["category"] == ALL_CATEGORIES]
    means = dict(zip(overall["metric"], overall["mean"].tolist(), strict=True))
    headlines = {metric: mean for metric, mean in means.items() if metric.partition("_at_")[0] in _HEADLINES}
    headlines |= about or {}
    write_json(directory / "metrics.json", headlines)
    return headlines


def read_table(directory: Path) -> pd.DataFrame:
    """Read `table.csv`; its columns are those of `summarize` after `method`.

    Raises:
        MemSifterError: the file is missing.
    """
    return read_csv(directory / "table.csv", ["method", "category", "metric"])


def read_csv(path: Path, text: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file that a stage wrote: every float to its last digit, an empty text as an empty text.

    Args:
        path: the file.
        text: the columns that hold text, also where it looks like a number.

    Raises:
        MemSifterError: the file is missing.
    """
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; run the stage that writes it (dvc repro)")
    table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, float_precision="round_trip")
    return table.assign(**{name: table[name].map(read_csv_cell) for name in text})


def read_metric(directory: Path, method: str, metric: str) -> dict[str, float]:
    """One metric of one method by question id; questions that do not have it are absent, and so may all be."""
    table = read_parquet(directory / "questions.parquet")
    if metric not in table.column_names:  # of a metric that no question has there is no column
        return {}
    frame = table.select(["method", "question_id", metric]).to_pandas()
    values = frame[frame["method"] == method].set_index("question_id")[metric].dropna()
    return dict(zip(values.index, values.tolist(), strict=True))


def folder_of(method: str, folders: Mapping[str, Path]) -> Path:
    """Where the results of a method are: a ranker's own folder, else that of the coarse orders."""
    return folders[method if method in folders else ORDERS_FOLDER]


def count_questions(directory: Path) -> int:
    """How many questions the results in a folder are about, whatever metrics they have."""
    return int(read_parquet(directory / "questions.parquet", ["question_id"]).to_pandas()["question_id"].nunique())


def scope_metrics(metrics: Mapping[str, float], *scope: str) -> dict[str, float]:
    """Metrics under the name that MLflow compares them by: split, dataset, metric (`test/sample/ndcg_at_10`)."""
    return {"/".join((*scope, name)): value for name, value in metrics.items()}


def compare_methods(
    folders: Mapping[str, Path], method: str, baseline: str, metric: str, samples: int, seed: int
) -> Interval:
    """Paired bootstrap interval of a metric of `method` minus that of `baseline`, question by question.

    An answer's score is compared on the questions that both have answered: a working LLM may refuse one of the two.

    Args:
        folders: folder of results by ranker, and `orders` for the coarse orders.
        method: a ranker, or a coarse order.
        baseline: another one.
        metric: as in `questions.parquet`.
        samples: bootstrap samples.
        seed: bootstrap seed.

    Raises:
        MemSifterError: results are missing, or a question of the baseline has no such metric in `method`; no question
            has it in both.
    """
    reference = read_metric(folder_of(baseline, folders), baseline, metric)
    values = read_metric(folder_of(method, folders), method, metric)
    if metric in _OF_ANSWERS:
        reference = {name: value for name, value in reference.items() if name in values}
    if missing := [name for name in reference if name not in values]:
        raise MemSifterError(
            f"{folder_of(method, folders)}: question {missing[0]!r} has no {metric}; repeat the evaluation"
        )
    if not reference:
        raise MemSifterError(f"no question has {metric} in both {baseline} and {method}")
    paired = [values[name] for name in reference]
    return paired_bootstrap_interval(paired, list(reference.values()), samples, seed)

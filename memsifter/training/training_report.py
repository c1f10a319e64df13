"""How a training round went: a curve per step, and what the ranker wrote in each validation."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from memsifter.errors import MemSifterError
from memsifter.files import atomic_file
from memsifter.training.metrics_log import Metrics, validation_reward

_CURVE_COLUMNS = ("step", "series", "value")
# What verl calls it by what the plot calls it; of validations, the mean over datasets.
_TRAINING = {
    "reward": "critic/rewards/mean",
    "answer part": "reward/answer_part/mean",
    "retrieval part": "reward/retrieval_part/mean",
}
_VALIDATION_NDCG = re.compile(r"val-(?:core|aux)/.+/retrieval_part/mean@\d+")
# Of a validated response, and what the table calls it.
_GENERATION = {
    "step": "step",
    "response": "output",
    "reward": "reward",
    "answer_part": "answer_part",
    "retrieval_part": "retrieval_part",
    "reference_answer": "gts",
    "prompt": "input",
}


def write_curve(path: Path, history: Mapping[int, Metrics]) -> None:
    """Write a CSV with a row per step and series: the training reward and its parts, validation reward and NDCG.

    Args:
        path: the file.
        history: verl's metrics by step.
    """
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_CURVE_COLUMNS)
        for step, metrics in sorted(history.items()):
            writer.writerows((step, series, round(value, 6)) for series, value in _points(metrics))


def write_generations(path: Path, directory: Path, steps: Iterable[int]) -> None:
    """Write a CSV with what the ranker wrote in each validation, the best paid first.

    Args:
        path: the file.
        directory: verl's dumps, `<step>.jsonl`.
        steps: the validated steps.

    Raises:
        MemSifterError: a dump is missing or lacks a field.
    """
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_GENERATION)
        for step in sorted(steps):
            rows = _read_dump(directory / f"{step}.jsonl")
            rows.sort(key=lambda row: (-row["reward"], row["input"]))
            writer.writerows([row[field] for field in _GENERATION.values()] for row in rows)


def _points(metrics: Metrics) -> Iterator[tuple[str, float]]:
    for series, name in _TRAINING.items():
        if name in metrics:
            yield series, metrics[name]
    if (reward := validation_reward(metrics)) is not None:
        yield "validation reward", reward
    if ndcg := [value for name, value in metrics.items() if _VALIDATION_NDCG.fullmatch(name)]:
        yield "validation NDCG", fmean(ndcg)


def _read_dump(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; verl did not keep this validation's responses")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if missing := sorted(set(_GENERATION.values()) - set(row)):
            raise MemSifterError(f"{path}: {', '.join(missing)} missing")
    return rows

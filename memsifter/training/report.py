"""How a training round went: a curve per step, what the ranker wrote, in training and tested, and what it gained."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from memsifter.errors import MemSifterError
from memsifter.io.display import csv_cell
from memsifter.io.files import atomic_file, sha256_json
from memsifter.metrics.bootstrap import paired_bootstrap_interval
from memsifter.training.run_directory import Metrics, validation_reward

if TYPE_CHECKING:
    from dvclive import Live

_CURVE_COLUMNS = ("step", "series", "value")
# What verl calls it by what the plot calls it; of validations, the mean over datasets.
_TRAINING = {
    "reward": "critic/rewards/mean",
    "answer part": "reward/answer_part/mean",
    "retrieval part": "reward/retrieval_part/mean",
}
# What people look at when the reward does not rise. Each has a plot of its own: the units differ.
# By what verl calls it; where it recomputes no log-probabilities, the entropy has another name.
_HEALTH = {
    "entropy": ("actor/entropy", "actor/entropy_loss"),  # of the next token, in nats; 0: the ranker repeats itself
    "clipped share": ("actor/pg_clipfrac",),  # of tokens that the bound of the ratio leaves without a gradient
    "kl of update": ("actor/ppo_kl",),  # from the policy that sampled to the one being trained, in nats per token
    "gradient norm": ("actor/grad_norm",),
    "mismatch": ("training/rollout_probs_diff_mean",),  # of a token's probability between rollout and trainer
    "mismatch kl": ("rollout_corr/kl",),  # from the rollout's policy to the trainer's, in nats per token
    "staleness": ("training/off_policy/trajectory_staleness/mean",),  # steps between sampling and training
    "response tokens": ("response_length/mean",),
}
# Digits after the point. What the rollout computes depends in its last bits, by some 1e-6, on what it generates beside,
# which no seed decides: with more digits, two runs of one training would give different files. On a CPU both are 0.
_DIGITS = {"mismatch": 4, "mismatch kl": 4}
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
# Of a response that was trained on. verl writes no parts of these rewards.
_ROLLOUT = {"step": "step", "reward": "score", "response": "output", "reference_answer": "gts", "prompt": "input"}
_SHOWN_QUESTIONS = 2  # of a step
# What is compared between the first and the last validation, question by question.
_GAINS = {"reward": "reward", "ndcg": "retrieval_part", "well_formed": "parse_ok"}
_BOOTSTRAP_SAMPLES = 10_000


def open_live(directory: Path) -> "Live":
    """A DVCLive logger, whose files `dvc exp show`, the VS Code extension and Studio read while training runs.

    `metrics.json` has the last value of each series, `plots/metrics/` a table of each. What was there is removed.
    """
    from dvclive import Live

    return Live(str(directory), save_dvc_exp=False, dvcyaml=False)


def log_live(live: "Live", step: int, metrics: Mapping[str, float]) -> None:
    """Add the series of `write_curve`, and what tells whether training is sound, at a step, at once.

    A step without any adds nothing.
    """
    found = {series: next((name for name in names if name in metrics), None) for series, names in _HEALTH.items()}
    health = {series: metrics[name] for series, name in found.items() if name}
    if points := dict(_points(metrics)) | health:
        live.step = step
        for series, value in points.items():
            live.log_metric(series.replace(" ", "_"), round(value, _DIGITS.get(series, 6)))
        live.next_step()


def write_live(directory: Path, history: Mapping[int, Metrics]) -> None:
    """Write DVCLive's files anew when training has ended: an interrupted run may have logged a step twice."""
    with open_live(directory) as live:
        for step, metrics in sorted(history.items()):
            log_live(live, step, metrics)


def write_curve(path: Path, history: Mapping[int, Metrics]) -> None:
    """Write a CSV with a row per step and series: the training reward and its parts, validation reward and NDCG.

    Args:
        path: the file.
        history: verl's metrics by step.
    """
    rows = ((step, *point) for step, metrics in sorted(history.items()) for point in _points(metrics))
    _write_csv(path, _CURVE_COLUMNS, ((step, series, round(value, 6)) for step, series, value in rows))


def write_generations(path: Path, directory: Path, steps: Iterable[int]) -> None:
    """Write a CSV with what the ranker wrote in each validation, by step, highest reward first.

    Args:
        path: the file.
        directory: verl's dumps, `<step>.jsonl`.
        steps: the validated steps.

    Raises:
        MemSifterError: a dump is missing or lacks a field.
    """
    dumps = (_read_dump(directory / f"{step}.jsonl", _GENERATION) for step in sorted(steps))
    rows = (row for dump in dumps for row in sorted(dump, key=lambda row: (-row["reward"], row["input"])))
    _write_csv(path, _GENERATION, ([row[field] for field in _GENERATION.values()] for row in rows))


def write_rollouts(path: Path, directory: Path, steps: Iterable[int]) -> None:
    """Write a CSV with all responses to two questions of each training step, highest reward first.

    A prompt stands in the first row of its question alone: it may be long.

    Args:
        path: the file.
        directory: verl's dumps, `<step>.jsonl`.
        steps: the training steps.

    Raises:
        MemSifterError: a dump is missing or lacks a field.
    """
    dumps = (_read_dump(directory / f"{step}.jsonl", _ROLLOUT) for step in sorted(steps))
    rows = (row for dump in dumps for row in _some_questions(dump))
    _write_csv(path, _ROLLOUT, ([row[field] for field in _ROLLOUT.values()] for row in rows))


def _some_questions(dump: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in dump:
        groups.setdefault(row["input"], []).append(row)
    for prompt in sorted(groups, key=sha256_json)[:_SHOWN_QUESTIONS]:
        first, *others = sorted(groups[prompt], key=lambda row: (-row["score"], row["output"]))
        yield first
        yield from (row | {"input": ""} for row in others)


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([csv_cell(value) for value in row] for row in rows)


def measure_gain(directory: Path, first: int, last: int, seed: int) -> dict[str, Any]:
    """Compare two validations of the same questions; several responses to a question are averaged.

    Args:
        directory: verl's dumps, `<step>.jsonl`.
        first: the earlier validated step; 0 is the model that training starts from.
        last: the later one.
        seed: of the bootstrap.

    Returns:
        `first_step`, `last_step`, `questions`, `left_out` (further questions, which the working LLM refused); and for
        `reward`, `ndcg` and `well_formed` (the share of outputs in the format) the means `first` and `last`, their
        difference `gain`, and the bounds `gain_low` and `gain_high` of its paired 95 % bootstrap interval. `ndcg` is
        the retrieval part of the reward: 0 for a malformed output.

    Raises:
        MemSifterError: a dump is missing or lacks a field, or the two hold different questions.
    """
    before, after = (_by_question(_read_dump(directory / f"{step}.jsonl", _GAINS)) for step in (first, last))
    if not before or before.keys() != after.keys():
        raise MemSifterError(f"{directory}: {first}.jsonl and {last}.jsonl do not hold the same questions")
    pairs = [pair for key in sorted(before) if all(pair := (before[key], after[key]))]
    if not pairs:
        raise MemSifterError(f"{directory}: the working LLM refused every question; nothing can be compared")
    report: dict[str, Any] = {"first_step": first, "last_step": last, "questions": len(pairs)}
    report["left_out"] = len(before) - len(pairs)
    for name, field in _GAINS.items():
        values_before, values_after = (
            [fmean(row[field] for row in rows) for rows in questions] for questions in zip(*pairs, strict=True)
        )
        gain = paired_bootstrap_interval(values_after, values_before, _BOOTSTRAP_SAMPLES, seed)
        report[name] = {
            "first": fmean(values_before),
            "last": fmean(values_after),
            "gain": gain.mean,
            "gain_low": gain.low,
            "gain_high": gain.high,
        }
    return report


def _by_question(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The responses to each prompt; none where the working LLM refused one of them."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["input"], []).append(row)
    return {key: [] if any(row.get("left_out") for row in group) else group for key, group in groups.items()}


def _points(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for series, name in _TRAINING.items():
        if name in metrics:
            yield series, metrics[name]
    if (reward := validation_reward(metrics)) is not None:
        yield "validation reward", reward
    if ndcg := [value for name, value in metrics.items() if _VALIDATION_NDCG.fullmatch(name)]:
        yield "validation NDCG", fmean(ndcg)


def _read_dump(path: Path, fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """The responses of a validation or a step; every one has its prompt and the values of `fields`."""
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; verl did not keep these responses")
    # verl leaves U+2028 and its like in the texts as they are; they end no line of JSON, but of `str.splitlines`.
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    for row in rows:
        if missing := sorted({"input", *fields.values()} - set(row)):
            raise MemSifterError(f"{path}: {', '.join(missing)} missing")
    return rows

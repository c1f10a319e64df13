"""What fitted weights are worth: measured on questions whose conversations they were not fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memsifter.fusion.combine import FittedWeights, combine_scores, weighted_sum
from memsifter.fusion.listwise import (
    TrainingLists,
    assign_folds,
    cross_validate,
    default_weights,
    training_lists,
)
from memsifter.fusion.training_set import TrainingSet
from memsifter.io.display import csv_cell
from memsifter.metrics.bootstrap import Interval, bootstrap_interval, paired_bootstrap_interval
from memsifter.metrics.retrieval import ndcg, order_by_score, recall
from memsifter.params import METHODS, RetrievalParams
from memsifter.retrieval.score_lists import ScoreLists

Values = NDArray[np.float64]
_METRICS = {
    "NDCG@1": (ndcg, 1),
    "NDCG@5": (ndcg, 5),
    "NDCG@10": (ndcg, 10),
    "recall@5": (recall, 5),
    "recall@10": (recall, 10),
}
_ABLATED = "NDCG@10"
_ABLATION_COLUMNS = ["score", "weight", "alone", "adds"]


@dataclass(frozen=True)
class Ablation:
    """One score: its weight, how well it orders alone, and what leaving it out and fitting the others costs."""

    score: str
    weight: float
    alone: float
    loss: Interval | None


@dataclass(frozen=True)
class CrossValidation:
    """Metrics of each way to order, per question.

    Attributes:
        folds: how many folds; 0 where all haystacks share sessions, so that `fitted` could not be measured.
        values: by method and metric, float64 [Q].
        ablations: one per score.
    """

    folds: int
    values: Mapping[str, Mapping[str, Values]]
    ablations: tuple[Ablation, ...]


def measure_fusion(
    training: TrainingSet, fitted: FittedWeights, params: RetrievalParams, samples: int, seed: int
) -> CrossValidation:
    """Measure the hand-set orders, and by cross-validation the fitted one, whole and without each score in turn."""
    scores, gold = training.scores, training.gold
    methods = combine_scores(scores, params, fitted.weights)
    orders: dict[str, NDArray[np.floating]] = {name: methods[name] for name in METHODS if name != "fitted"}
    halves = ScoreLists(scores.question_ids, scores.offsets, orders)
    orders["dense + lexical"] = weighted_sum(halves, {"dense": 1.0, "lexical": 1.0})
    lists = training_lists(training, params.scores)
    centre = np.asarray(list(default_weights(params).values()))
    folds = assign_folds(training.groups, params.fit.folds)
    is_split = len(np.unique(folds)) > 1
    if is_split:
        orders["fitted"] = cross_validate(lists, folds, params.fit.l2, centre)
    values = {name: _measure(order, gold, scores.offsets) for name, order in orders.items()}
    ablations = []
    for column, name in enumerate(params.scores):
        loss = None
        if is_split and len(params.scores) > 1:
            kept = [other for other in range(len(params.scores)) if other != column]
            rest = TrainingLists(lists.features[:, kept], lists.gold, lists.offsets)
            without = cross_validate(rest, folds, params.fit.l2, centre[kept])
            loss = paired_bootstrap_interval(
                values["fitted"][_ABLATED], _measure(without, gold, scores.offsets)[_ABLATED], samples, seed
            )
        alone = _measure(scores.columns[name], gold, scores.offsets)[_ABLATED].mean()
        ablations.append(Ablation(name, fitted.weights[name], float(alone), loss))
    return CrossValidation(len(np.unique(folds)) if is_split else 0, values, tuple(ablations))


def render_report(
    fitted: FittedWeights, training: TrainingSet | None, result: CrossValidation | None, samples: int, seed: int
) -> str:
    """Markdown: where the weights come from, how they do on conversations they never saw, what each score adds."""
    lines = ["# Fusion of the coarse scores", ""]
    if training is None or result is None:
        body = [[name, f"{weight:.2f}"] for name, weight in fitted.weights.items()]
        lines += ["No train question with gold sessions: these are the default weights.", ""]
        lines += [_markdown(body, ["score", "weight"])]
        return "\n".join(lines) + "\n"
    sources = ", ".join(f"{count} of `{name}`" for name, count in training.questions.items())
    lines += [
        f"Fitted on train questions with gold sessions: {sources}; {training.without_gold} without gold left out.",
        "",
    ]
    if result.folds:
        lines += [f"Each fitted figure is for conversations that the weights never saw ({result.folds} folds)."]
    else:
        lines += ["These conversations are one, or share sessions: the weights cannot be measured on others."]
    body = [
        [method, *(_show(bootstrap_interval(values[metric], samples, seed)) for metric in _METRICS)]
        for method, values in result.values.items()
    ]
    lines += ["", _markdown(body, ["method", *_METRICS]), ""]
    lines += ["Mean [95 % bootstrap interval over questions]. `dense + lexical` has equal weights and no dates.", ""]
    if result.folds:
        lines += [_difference(result, metric, samples, seed) for metric in ("NDCG@1", "NDCG@5", "NDCG@10")]
    lines += [
        "",
        f"Each score: its {_ABLATED} alone, and what leaving it out costs when the others are fitted anew.",
        "",
    ]
    rows = [
        [item.score, f"{item.weight:.2f}", f"{item.alone:.3f}", _show_signed(item.loss) if item.loss else ""]
        for item in result.ablations
    ]
    lines += [_markdown(rows, _ABLATION_COLUMNS)]
    return "\n".join(lines) + "\n"


def render_ablation(result: CrossValidation | None) -> str:
    """CSV of what each score adds: score, weight, alone, adds."""
    rows = [
        [item.score, item.weight, round(item.alone, 4), round(item.loss.mean, 4) if item.loss else 0.0]
        for item in (result.ablations if result else ())
    ]
    table: str = pd.DataFrame(rows, columns=_ABLATION_COLUMNS).map(csv_cell).to_csv(index=False)
    return table


def _markdown(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    table: str = pd.DataFrame(rows, columns=columns).to_markdown(index=False, tablefmt="github", disable_numparse=True)
    return table


def _measure(order: NDArray[np.floating], gold: NDArray[np.bool_], offsets: NDArray[np.int64]) -> dict[str, Values]:
    """Metrics of one order, float64 [Q] each."""
    rows = []
    for start, end in pairwise(offsets.tolist()):
        ranking = order_by_score(order[start:end])
        wanted = set(np.flatnonzero(gold[start:end]).tolist())
        rows.append([metric(wanted, ranking, k) for metric, k in _METRICS.values()])
    return dict(zip(_METRICS, np.asarray(rows).T, strict=True))


def _difference(result: CrossValidation, metric: str, samples: int, seed: int) -> str:
    values = result.values
    interval = paired_bootstrap_interval(values["fitted"][metric], values["hand_weighted"][metric], samples, seed)
    return f"{metric} of `fitted` minus `hand_weighted`: {_show_signed(interval)}, paired.  "


def _show(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _show_signed(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"

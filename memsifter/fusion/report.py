"""What fitted weights are worth: measured on questions whose conversations they were not fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memsifter.fusion.combine import FittedWeights, combine_scores, feature, weighted_sum
from memsifter.fusion.fit import (
    assign_folds,
    choose_per_fold,
    cross_validate,
    default_weights,
    name_l2,
    training_lists,
)
from memsifter.fusion.measure import GoldRanks, Values
from memsifter.fusion.training_set import TrainingSet
from memsifter.io.display import csv_cell
from memsifter.metrics.bootstrap import Interval, bootstrap_interval, paired_bootstrap_interval
from memsifter.params import Method, RetrievalParams
from memsifter.retrieval.score_lists import ScoreLists

_CUTOFFS = (1, 5, 10)
_METRICS = tuple(f"{name}@{k}" for name, k in product(("NDCG", "recall"), _CUTOFFS) if (name, k) != ("recall", 1))
_ABLATED = "NDCG@10"
_COMPARED = ("NDCG@1", "NDCG@5", "NDCG@10")
_ABLATION_COLUMNS = ["score", "weight", "alone", "adds"]
_HAND_SET = ("dense", "lexical", "hand_weighted")


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
        training: the questions.
        method: the richest fitted method that was measured, `fitted` or `fitted_likelihood`.
        fitted: its weights.
        folds: how many folds; 0 where all haystacks share sessions, so that nothing fitted could be measured.
        l2s: the l2 of each fold, chosen without it.
        values: by method and metric, float64 [Q]; the best single score stands there under its own name.
        ablations: one per score of `method`.
    """

    training: TrainingSet
    method: str
    fitted: FittedWeights
    folds: int
    l2s: Sequence[float]
    values: Mapping[str, Mapping[str, Values]]
    ablations: tuple[Ablation, ...]


def measure_fusion(
    training: TrainingSet, fitted: Mapping[Method, FittedWeights], params: RetrievalParams, samples: int, seed: int
) -> CrossValidation:
    """Measure the hand-set orders, and by cross-validation the fitted ones, the last one without each score as well.

    The l2 of a fold is chosen on the other folds alone, so that nothing of a question decides how it is ordered.

    Args:
        training: the questions.
        fitted: the weights of `fitted`, and of `fitted_likelihood` where the questions have likelihoods.
        params: which scores, the default weights, l2 and folds.
        samples: bootstrap samples.
        seed: bootstrap seed.
    """
    folds = assign_folds(training.groups, params.fit.folds)
    count = len(np.unique(folds))
    alone = {
        name: _measure(feature(training.scores, name), training)
        for name in default_weights(params, "fitted_likelihood" in fitted)
    }
    best = max(alone, key=lambda name: float(alone[name][_ABLATED].mean()))
    values = {name: _measure(order, training) for name, order in _hand_set_orders(training, params).items()}
    values[best] = alone[best]
    l2s: list[float] = []
    ablations: list[Ablation] = []
    for method, weights in fitted.items():
        centre = default_weights(params, method == "fitted_likelihood")
        lists, middle = training_lists(training, list(centre)), np.asarray(list(centre.values()))
        losses: dict[str, Interval] = {}
        if count > 1:
            l2s = choose_per_fold(lists, folds, middle, params.fit.l2)
            values[method] = _measure(cross_validate(lists, folds, l2s, middle), training)
        if count > 1 and len(centre) > 1 and method == list(fitted)[-1]:
            for column, name in enumerate(centre):
                rest = cross_validate(lists.without(column), folds, l2s, np.delete(middle, column))
                losses[name] = _difference(values[method], _measure(rest, training), _ABLATED, samples, seed)
        ablations = [
            Ablation(name, weights.weights[name], float(alone[name][_ABLATED].mean()), losses.get(name))
            for name in centre
        ]
    return CrossValidation(training, method, weights, count if count > 1 else 0, l2s, values, tuple(ablations))


def render_report(
    fitted: Mapping[Method, FittedWeights], results: Sequence[CrossValidation], samples: int, seed: int
) -> str:
    """Markdown: where the weights come from, how they do on conversations they never saw, what each score adds.

    Args:
        fitted: by method; what no result is about is listed as it is.
        results: of `measure_fusion`.
        samples: bootstrap samples.
        seed: bootstrap seed.
    """
    lines = ["# Fusion of the coarse scores", ""]
    for result in results:
        lines += _render_result(result, samples, seed)
    measured = {method for result in results for method in (*result.values, result.method)}
    for method in fitted:
        if method not in measured:
            body = [[name, f"{weight:.2f}"] for name, weight in fitted[method].weights.items()]
            is_fitted = fitted[method].training_set is not None
            origin = "fitted, and not measured by itself" if is_fitted else "no train question with gold sessions"
            lines += [f"`{method}`: {origin}{'' if is_fitted else ': these are the default weights'}.", ""]
            lines += [_markdown(body, ["score", "weight"]), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _render_result(result: CrossValidation, samples: int, seed: int) -> list[str]:
    training, method = result.training, result.method
    sources = ", ".join(f"{count} of `{name}`" for name, count in training.questions.items())
    lines = [
        f"## `{method}`",
        "",
        f"Fitted on train questions with gold sessions: {sources}; {training.without_gold} without gold left out.",
        "",
        *_describe_strength(result),
    ]
    if result.folds:
        lines += [f"Each fitted figure is for conversations that the weights never saw ({result.folds} folds)."]
    else:
        lines += ["These conversations are one, or share sessions: the weights cannot be measured on others."]
    body = [
        [name, *(_show(bootstrap_interval(values[metric], samples, seed)) for metric in _METRICS)]
        for name, values in result.values.items()
    ]
    lines += ["", _markdown(body, ["method", *_METRICS]), ""]
    lines += [
        "Mean [95 % bootstrap interval over questions]. `dense + lexical` has equal weights and no dates; the row"
    ]
    lines += ["after it is the score that orders best alone.", ""]
    if result.folds:
        lines += [*_compare(result, samples, seed), ""]
    lines += [f"Each score: its {_ABLATED} alone, and what leaving it out costs when the others are fitted anew.", ""]
    rows = [
        [item.score, f"{item.weight:.2f}", f"{item.alone:.3f}", _show_signed(item.loss) if item.loss else ""]
        for item in result.ablations
    ]
    return [*lines, _markdown(rows, _ABLATION_COLUMNS), ""]


def _describe_strength(result: CrossValidation) -> list[str]:
    """How strongly the weights are held to the default ones, and what held-out conversations said of it."""
    fitted = result.fitted
    if fitted.source == "default":
        lines = ["Held-out conversations are ordered as well by the default weights as by fitted ones: these are used."]
    else:
        lines = [f"l2, the pull towards the default weights, is {fitted.l2:g}."]
    if fitted.losses:
        lines += ["It is the strongest whose loss on held-out conversations is within one standard error of the least:"]
        names = ["l2", *fitted.losses]
        lines += ["", _markdown([["loss", *(f"{loss:.3f}" for loss in fitted.losses.values())]], names), ""]
        lines += [f"Chosen without one fold, for the figures below: {', '.join(map(name_l2, result.l2s))}."]
    return [*lines, ""]


def _compare(result: CrossValidation, samples: int, seed: int) -> list[str]:
    """In words, whether fitting was worth it: the fitted order against every other one."""
    method = result.method
    body = []
    for other, values in result.values.items():
        if other != method:
            found = {name: _difference(result.values[method], values, name, samples, seed) for name in _COMPARED}
            body.append([other, *map(_show_signed, found.values()), _judge(found["NDCG@1"], found["NDCG@10"])])
    columns = [f"`{method}` minus", *_COMPARED, f"`{method}` is"]
    return ["Differences are paired by question.", "", _markdown(body, columns)]


def _judge(first: Interval, whole: Interval) -> str:
    verdicts = {
        name: "better" if interval.low > 0 else "worse" if interval.high < 0 else "as good"
        for name, interval in (("at NDCG@1", first), ("at NDCG@10", whole))
    }
    if len(set(verdicts.values())) == 1:
        return verdicts["at NDCG@1"]
    return ", ".join(f"{verdict} {where}" for where, verdict in verdicts.items())


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


def _hand_set_orders(training: TrainingSet, params: RetrievalParams) -> dict[str, NDArray[np.floating[Any]]]:
    methods = combine_scores(training.scores, params, {})
    orders = {name: methods[name] for name in _HAND_SET}
    halves = ScoreLists(training.scores.question_ids, training.scores.offsets, orders)
    orders["dense + lexical"] = weighted_sum(halves, {"dense": 1.0, "lexical": 1.0})
    return orders


def _measure(order: NDArray[np.floating[Any]], training: TrainingSet) -> dict[str, Values]:
    """Metrics of one order, float64 [Q] each."""
    ranks = GoldRanks.of(order, training.gold, training.scores.offsets)
    found = {f"NDCG@{k}": ranks.ndcg(k) for k in _CUTOFFS} | {f"recall@{k}": ranks.recall(k) for k in _CUTOFFS}
    return {name: found[name] for name in _METRICS}


def _difference(
    values: Mapping[str, Values], others: Mapping[str, Values], metric: str, samples: int, seed: int
) -> Interval:
    return paired_bootstrap_interval(values[metric], others[metric], samples, seed)


def _show(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _show_signed(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"

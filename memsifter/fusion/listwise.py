"""A linear combiner, fitted so that the gold sessions of each haystack come first, and its cross-validation."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from memsifter.errors import MemSifterError
from memsifter.fusion.combine import FittedWeights, standardize
from memsifter.fusion.training_set import TrainingSet
from memsifter.params import RetrievalParams
from memsifter.retrieval.score_lists import concatenate_ranges, select_groups

Vector = NDArray[np.float64]
_DIGITS = 4  # far below the uncertainty of a weight, far above the rounding errors that differ between machines


@dataclass(frozen=True)
class TrainingLists:
    """Questions with gold sessions: lists of entries, one per session of the haystack, end to end.

    Attributes:
        features: float64 [entries, K], standardised within each list.
        gold: bool [entries], at least one per list.
        offsets: int64 [Q + 1]; question q owns the entries offsets[q] up to offsets[q + 1].
    """

    features: NDArray[np.float64]
    gold: NDArray[np.bool_]
    offsets: NDArray[np.int64]

    def select(self, questions: NDArray[np.int64]) -> "TrainingLists":
        """Some of the questions."""
        rows, starts = select_groups(self.offsets, questions)
        return TrainingLists(self.features[rows], self.gold[rows], np.append(starts, len(rows)))


class ListwiseLoss:
    """What the weights of a combiner are fitted by; convex in the weights.

    Cross-entropy between the softmax over a haystack's scores and the uniform distribution over its gold sessions
    (ListNet's top-one probability, Cao et al. 2007), summed over the questions, plus l2 / 2 · |weights - centre|².
    """

    def __init__(self, lists: TrainingLists, l2: float, centre: Vector) -> None:
        self._features, self._l2, self._centre = lists.features, l2, centre
        self._starts, self._lengths = lists.offsets[:-1], np.diff(lists.offsets)
        self._target = lists.gold / np.repeat(self._sum(lists.gold.astype(np.float64)), self._lengths)
        self._target_features = self._target @ self._features

    def value_and_gradient(self, weights: Vector) -> tuple[float, Vector]:
        """The loss, and its gradient [K]."""
        scores = self._features @ weights
        best = np.maximum.reduceat(scores, self._starts)
        log_total = np.log(self._sum(np.exp(scores - np.repeat(best, self._lengths)))) + best
        share = np.exp(scores - np.repeat(log_total, self._lengths))
        distance = weights - self._centre
        loss = log_total.sum() - self._target_features @ weights + self._l2 / 2 * (distance @ distance)
        return float(loss), share @ self._features - self._target_features + self._l2 * distance

    def hessian(self, weights: Vector) -> NDArray[np.float64]:
        """The second derivatives [K, K]: the features' covariance under the softmax, and l2 on the diagonal."""
        scores = self._features @ weights
        shifted = np.exp(scores - np.repeat(np.maximum.reduceat(scores, self._starts), self._lengths))
        share = shifted / np.repeat(self._sum(shifted), self._lengths)
        weighted = self._features * share[:, np.newaxis]
        means = np.add.reduceat(weighted, self._starts, axis=0)
        covariance: NDArray[np.float64] = self._features.T @ weighted - means.T @ means
        return covariance + self._l2 * np.eye(len(weights))

    def _sum(self, values: Vector) -> Vector:
        total: Vector = np.add.reduceat(values, self._starts)
        return total


def fit_weights(lists: TrainingLists, l2: float, centre: Vector) -> Vector:
    """The weights of the least `ListwiseLoss`, the same on every run.

    Args:
        lists: what to fit on.
        l2: how strongly the weights are held to `centre`, above 0, so that there is one minimum.
        centre: float64 [K].

    Returns:
        float64 [K].

    Raises:
        MemSifterError: a feature is not finite.
    """
    if not np.isfinite(lists.features).all():
        raise MemSifterError("retrieval.scores: a score is not a finite number, which no weights fit; repeat score")
    loss = ListwiseLoss(lists, l2, centre)
    # With so few weights, Newton's steps in a trust region reach the minimum's last digits in a handful of rounds.
    weights: Vector = minimize(
        loss.value_and_gradient, centre, jac=True, hess=loss.hessian, method="trust-exact", options={"gtol": 1e-6}
    ).x
    return weights


def assign_folds(groups: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Spread groups over folds of like size; with no more groups than folds each group is a fold of its own.

    Args:
        groups: int64 [Q], the group of each question.
        folds: the most folds.

    Returns:
        int64 [Q], the fold of each question; no group is in two folds.
    """
    names, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    fold_of_group = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(min(folds, len(names)), dtype=np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of_group[group] = filled.argmin()
        filled[fold_of_group[group]] += sizes[group]
    return fold_of_group[members]


def cross_validate(
    lists: TrainingLists, folds: NDArray[np.int64], l2: float, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit on all folds but one and score the questions of that one, for each in turn.

    Args:
        lists: questions with gold.
        folds: int64 [Q], at least two distinct.
        l2: as in `fit_weights`.
        centre: as in `fit_weights`.

    Returns:
        float64 [entries], the score of every entry by weights that were not fitted on its question.
    """
    scores = np.empty(len(lists.features))
    lengths = np.diff(lists.offsets)
    for fold in np.unique(folds):
        weights = fit_weights(lists.select(np.flatnonzero(folds != fold)), l2, centre)
        held_out = np.flatnonzero(folds == fold)
        entries = concatenate_ranges(lists.offsets[held_out], lengths[held_out])
        scores[entries] = lists.features[entries] @ weights
    return scores


def training_lists(training: TrainingSet, names: tuple[str, ...]) -> TrainingLists:
    """The standardised scores of these names as features."""
    offsets = training.scores.offsets
    columns = [standardize(training.scores.columns[name], offsets) for name in names]
    return TrainingLists(np.stack(columns, axis=1), training.gold, offsets)


def default_weights(params: RetrievalParams) -> dict[str, float]:
    """`retrieval.fit.default_weights` of the scores in use; 0 for those that it does not name."""
    return {name: params.fit.default_weights.get(name, 0.0) for name in params.scores}


def fit_fusion(training: TrainingSet | None, params: RetrievalParams) -> FittedWeights:
    """Fit the weights of `retrieval.scores`; without training questions, the default weights.

    Raises:
        MemSifterError: a score, a default weight or a fitted weight is not a finite number.
    """
    start = default_weights(params)
    _require_finite(start, "retrieval.fit.default_weights")
    if training is None:
        return FittedWeights("default", start, params.fit.l2, {}, None)
    values = fit_weights(training_lists(training, params.scores), params.fit.l2, np.asarray(list(start.values())))
    weights = {name: round(float(value), _DIGITS) for name, value in zip(start, values, strict=True)}
    _require_finite(weights, "fitted weights; check retrieval.fit")
    return FittedWeights("fitted", weights, params.fit.l2, dict(training.questions), training.sha256)


def _require_finite(weights: Mapping[str, float], where: str) -> None:
    for name, weight in weights.items():
        if not np.isfinite(weight):
            raise MemSifterError(f"{where}: the weight of {name} is {weight}, not a finite number")

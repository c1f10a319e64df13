"""A linear combiner, fitted so that the gold sessions of each haystack come first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.retrieval.score_lists import select_groups

Vector = NDArray[np.float64]
_MOST_STEPS = 100
_DECREMENT = 1e-12  # twice what the loss may still fall by; the weights are then right to more digits than are kept


@dataclass(frozen=True)
class TrainingLists:
    """Questions with gold sessions: lists of entries, one per session of the haystack, end to end.

    Attributes:
        features: float64 [entries, K], on scales that lists share (`memsifter.fusion.combine.feature`).
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

    def without(self, feature: int) -> "TrainingLists":
        """All features but one."""
        return TrainingLists(np.delete(self.features, feature, axis=1), self.gold, self.offsets)


class ListwiseLoss:
    """What the weights of a combiner are fitted by; convex in the weights.

    Cross-entropy between the softmax over a haystack's scores and the uniform distribution over its gold sessions
    (ListNet's top-one probability, Cao et al. 2007), summed over the questions, plus l2 / 2 · |weights - centre|².
    """

    def __init__(self, lists: TrainingLists, l2: float, centre: Vector) -> None:
        self._features, self._l2, self._centre = lists.features, l2, centre
        self._starts, self._lengths = lists.offsets[:-1], np.diff(lists.offsets)
        self._target_features = gold_shares(lists) @ self._features

    def value(self, weights: Vector) -> float:
        """The loss."""
        return self._value(weights, self._log_shares(weights)[1])

    def derivatives(self, weights: Vector) -> tuple[float, Vector, NDArray[np.float64]]:
        """The loss, its gradient [K] and its second derivatives [K, K].

        The latter are the features' covariance under the softmax, and l2 on the diagonal.
        """
        log_shares, log_totals = self._log_shares(weights)
        shares = np.exp(log_shares)
        weighted = self._features * shares[:, np.newaxis]
        means = np.add.reduceat(weighted, self._starts, axis=0)
        covariance: NDArray[np.float64] = self._features.T @ weighted - means.T @ means
        gradient = means.sum(axis=0) - self._target_features + self._l2 * (weights - self._centre)
        return self._value(weights, log_totals), gradient, covariance + self._l2 * np.eye(len(weights))

    def _value(self, weights: Vector, log_totals: Vector) -> float:
        distance = weights - self._centre
        return float(log_totals.sum() - self._target_features @ weights + self._l2 / 2 * (distance @ distance))

    def _log_shares(self, weights: Vector) -> tuple[Vector, Vector]:
        """Logarithms of each entry's softmax, and of each list's sum of exponentials."""
        return log_softmax(self._features @ weights, self._starts, self._lengths)


def gold_shares(lists: TrainingLists) -> Vector:
    """The uniform distribution over each list's gold entries; float64 [entries]."""
    counts = np.add.reduceat(lists.gold.astype(np.float64), lists.offsets[:-1])
    shares: Vector = lists.gold / np.repeat(counts, np.diff(lists.offsets))
    return shares


def log_softmax(scores: Vector, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[Vector, Vector]:
    """Logarithm of the softmax within each list, and of each list's sum of exponentials."""
    best = np.maximum.reduceat(scores, starts)
    shifted = scores - np.repeat(best, lengths)
    totals = np.log(np.add.reduceat(np.exp(shifted), starts))
    return shifted - np.repeat(totals, lengths), totals + best


def question_losses(lists: TrainingLists, weights: Vector) -> Vector:
    """The loss of each question without the pull; float64 [Q]."""
    return score_losses(lists, lists.features @ weights)


def score_losses(lists: TrainingLists, scores: Vector) -> Vector:
    """The loss of each question without the pull, by the scores of its sessions [entries]; float64 [Q]."""
    log_shares, _ = log_softmax(scores, lists.offsets[:-1], np.diff(lists.offsets))
    losses: Vector = -np.add.reduceat(gold_shares(lists) * log_shares, lists.offsets[:-1])
    return losses


def fit_weights(lists: TrainingLists, l2: float, centre: Vector, start: Vector | None = None) -> Vector:
    """The weights of the least `ListwiseLoss`, by Newton's method with step halving (Boyd & Vandenberghe 2004, 9.5).

    Args:
        lists: what to fit on.
        l2: how strongly the weights are held to `centre`, above 0, so that there is one minimum; infinity gives
            `centre`.
        centre: float64 [K].
        start: float64 [K], where the search begins; it decides the time alone. None: at `centre`.

    Returns:
        float64 [K].

    Raises:
        MemSifterError: a feature is not finite.
    """
    if not np.isfinite(lists.features).all():
        raise MemSifterError("retrieval.scores: a score is not a finite number, which no weights fit; repeat score")
    if np.isinf(l2):
        return centre
    loss = ListwiseLoss(lists, l2, centre)
    weights: Vector = centre if start is None else start
    for _ in range(_MOST_STEPS):
        value, gradient, hessian = loss.derivatives(weights)
        step = np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
        decrement = float(gradient @ step)
        if decrement < _DECREMENT * max(1.0, abs(value)):
            break
        size = 1.0
        while loss.value(weights - size * step) > value - 1e-4 * size * decrement and size > 1e-8:
            size /= 2
        weights = weights - size * step
    return weights

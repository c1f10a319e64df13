"""Fitting the weights on train questions: on which folds, how strongly held, and what held-out conversations say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.fusion.combine import FittedWeights, feature
from memsifter.fusion.likelihood import LIKELIHOOD
from memsifter.fusion.listwise import TrainingLists, Vector, fit_weights, question_losses
from memsifter.fusion.training_set import TrainingSet
from memsifter.params import RetrievalParams
from memsifter.retrieval.score_lists import concatenate_ranges

# What `retrieval.fit.l2: auto` chooses from, strongest first; infinity is the default weights themselves.
GRID = (np.inf, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
# Where there are too few conversations to choose: on one conversation of LoCoMo it did well with 10 to 100 questions.
UNTESTED = 30.0
_DIGITS = 4  # far below the uncertainty of a weight, far above the rounding errors that differ between machines


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


@dataclass(frozen=True)
class Choice:
    """An l2, and the mean loss of a held-out question with each of `GRID` (empty where it could not be measured)."""

    l2: float
    losses: Sequence[float] = ()


@dataclass(frozen=True)
class StrengthSearch:
    """Chooses l2 by the loss of held-out folds, also on all folds but one, as nested cross-validation needs it.

    Attributes:
        lists: questions with gold.
        folds: int64 [Q], numbered from 0.
        centre: float64 [K], the default weights.
    """

    lists: TrainingLists
    folds: NDArray[np.int64]
    centre: Vector
    _paths: dict[frozenset[int], list[Vector]] = field(default_factory=dict)

    def choose(self, hidden: int | None = None) -> Choice:
        """The strongest l2 whose loss is within one standard error of the least (Hastie et al. 2009, section 7.10).

        The loss is that of `ListwiseLoss` without the pull, of questions in folds that were not fitted on; the standard
        error is that of the difference, paired by question.

        Args:
            hidden: a fold that takes no part.
        """
        used = [fold for fold in np.unique(self.folds).tolist() if fold != hidden]
        if len(used) < 2:
            return Choice(UNTESTED)
        losses = np.concatenate([self._held_out_losses(fold, hidden) for fold in used], axis=1)
        least = losses[losses.mean(axis=1).argmin()]
        worse = losses - least
        tolerated = worse.std(axis=1, ddof=1) / np.sqrt(losses.shape[1]) if losses.shape[1] > 1 else 0.0
        is_as_good = worse.mean(axis=1) <= tolerated + 1e-9
        return Choice(GRID[int(is_as_good.argmax())], tuple(losses.mean(axis=1).tolist()))

    def _held_out_losses(self, fold: int, hidden: int | None) -> NDArray[np.float64]:
        """Losses of the fold's questions by weights that saw neither it nor `hidden`; [len(GRID), questions]."""
        left_out = frozenset({fold} if hidden is None else {fold, hidden})
        if left_out not in self._paths:  # a pair of folds is left out for the sake of either
            kept = self.lists.select(np.flatnonzero(~np.isin(self.folds, list(left_out))))
            path = [self.centre]
            for l2 in GRID[1:]:
                path.append(fit_weights(kept, l2, self.centre, path[-1]))
            self._paths[left_out] = path
        held_out = self.lists.select(np.flatnonzero(self.folds == fold))
        return np.stack([question_losses(held_out, weights) for weights in self._paths[left_out]])


def cross_validate(
    lists: TrainingLists, folds: NDArray[np.int64], l2s: Sequence[float], centre: Vector
) -> NDArray[np.float64]:
    """Fit on all folds but one and score the questions of that one, for each in turn.

    Args:
        lists: questions with gold.
        folds: int64 [Q], numbered from 0, at least two distinct.
        l2s: as in `fit_weights`, for each fold that is held out.
        centre: as in `fit_weights`.

    Returns:
        float64 [entries], the score of every entry by weights that were not fitted on its question.
    """
    scores = np.empty(len(lists.features))
    lengths = np.diff(lists.offsets)
    for fold in np.unique(folds).tolist():
        weights = fit_weights(lists.select(np.flatnonzero(folds != fold)), l2s[fold], centre)
        held_out = np.flatnonzero(folds == fold)
        entries = concatenate_ranges(lists.offsets[held_out], lengths[held_out])
        scores[entries] = lists.features[entries] @ weights
    return scores


def choose_per_fold(lists: TrainingLists, folds: NDArray[np.int64], centre: Vector, l2: float | str) -> list[float]:
    """What `retrieval.fit.l2` is for each fold that is held out: chosen without looking at it."""
    numbers = np.unique(folds).tolist()
    if not isinstance(l2, str):
        return [l2] * len(numbers)
    search = StrengthSearch(lists, folds, centre)
    return [search.choose(fold).l2 for fold in numbers]


def training_lists(training: TrainingSet, names: Sequence[str]) -> TrainingLists:
    """The features of these names."""
    columns = [feature(training.scores, name) for name in names]
    return TrainingLists(np.stack(columns, axis=1), training.gold, training.scores.offsets)


def default_weights(params: RetrievalParams, likelihood: bool = False) -> dict[str, float]:
    """`retrieval.fit.default_weights` of the scores in use; 0 for those that it does not name.

    Args:
        params: the scores in use.
        likelihood: with that of the likelihood, which the method `fitted_likelihood` adds.
    """
    given = {str(name): weight for name, weight in params.fit.default_weights.items()}
    names = (*params.scores, LIKELIHOOD) if likelihood else params.scores
    return {name: given.get(name, 0.0) for name in names}


def fit_fusion(training: TrainingSet | None, params: RetrievalParams, likelihood: bool = False) -> FittedWeights:
    """Fit the weights of `retrieval.scores`; without training questions, the default weights.

    Args:
        training: the train questions; with the column `likelihood` among their scores where it is fitted, too.
        params: which scores, the default weights, l2 and folds.
        likelihood: fit `fitted_likelihood`.

    Raises:
        MemSifterError: a score, a default weight or a fitted weight is not a finite number.
    """
    start = default_weights(params, likelihood)
    _require_finite(start, "retrieval.fit.default_weights")
    if training is None:
        return FittedWeights("default", start, None, {}, {}, None)
    centre = np.asarray(list(start.values()))
    lists = training_lists(training, list(start))
    choice = (
        StrengthSearch(lists, assign_folds(training.groups, params.fit.folds), centre).choose()
        if isinstance(params.fit.l2, str)
        else Choice(params.fit.l2)
    )
    values = fit_weights(lists, choice.l2, centre)
    weights = {name: round(float(value), _DIGITS) for name, value in zip(start, values, strict=True)}
    _require_finite(weights, "fitted weights; check retrieval.fit")
    is_default = np.isinf(choice.l2)
    return FittedWeights(
        source="default" if is_default else "fitted",
        weights=weights,
        l2=None if is_default else choice.l2,
        losses={name_l2(l2): round(loss, _DIGITS) for l2, loss in zip(GRID, choice.losses, strict=False)},
        questions=dict(training.questions),
        training_set=training.sha256,
    )


def name_l2(l2: float) -> str:
    """An l2 as files and reports show it."""
    return "default" if np.isinf(l2) else f"{l2:g}"


def _require_finite(weights: Mapping[str, float], where: str) -> None:
    for name, weight in weights.items():
        if not np.isfinite(weight):
            raise MemSifterError(f"{where}: the weight of {name} is {weight}, not a finite number")

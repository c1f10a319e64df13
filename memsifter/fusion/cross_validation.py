"""Scores of every training question by weights that never saw its conversation."""

import numpy as np
from numpy.typing import NDArray

from memsifter.fusion.listwise import TrainingLists, fit_weights
from memsifter.retrieval.pooling import concatenate_ranges


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
        float64 [entries], the fused score of every entry.
    """
    scores = np.empty(len(lists.features))
    lengths = np.diff(lists.offsets)
    for fold in np.unique(folds):
        weights = fit_weights(lists.select(np.flatnonzero(folds != fold)), l2, centre)
        held_out = np.flatnonzero(folds == fold)
        entries = concatenate_ranges(lists.offsets[held_out], lengths[held_out])
        scores[entries] = lists.features[entries] @ weights
    return scores

"""Groups of consecutive rows: the turns or windows of a session, laid out session after session."""

import numpy as np
from numpy.typing import NDArray


def concatenate_ranges(firsts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers first, first + 1, … of each range, one range after the other; int64 [sum of lengths]."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(firsts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def select_groups(offsets: NDArray[np.int64], groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lay the rows of chosen groups side by side.

    Args:
        offsets: int64 [G + 1]; group g owns the rows offsets[g] up to offsets[g + 1], at least one.
        groups: int64 [S], the groups to choose, in order.

    Returns:
        The chosen rows, and int64 [S] where each group starts among them.
    """
    lengths = offsets[groups + 1] - offsets[groups]
    return concatenate_ranges(offsets[groups], lengths), np.cumsum(lengths) - lengths


def max_per_group(scores: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The best score of each group; float32 [Q, rows] to [Q, groups]."""
    return np.maximum.reduceat(scores, starts, axis=1)


def mean_of_best(scores: NDArray[np.float32], starts: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Mean of the best `count` scores of each group, of all where it has fewer; float32 [Q, rows] to [Q, groups]."""
    rows = scores.shape[1]
    lengths = np.diff(np.append(starts, rows))
    positions = np.arange(rows)
    left = scores.copy()
    total = np.zeros((len(scores), len(starts)), dtype=np.float32)
    for taken in range(min(count, int(lengths.max()))):
        best = max_per_group(left, starts)
        total += np.where(taken < lengths, best, 0)
        # Of equal scores one is taken at a time: the first.
        is_best = left == np.repeat(best, lengths, axis=1)
        first = np.minimum.reduceat(np.where(is_best, positions, rows), starts, axis=1)
        np.put_along_axis(left, first, -np.inf, axis=1)
    total /= np.minimum(lengths, count).astype(np.float32)
    return total

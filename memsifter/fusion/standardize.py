"""Scores of different kinds on one scale."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def standardize(values: NDArray[np.floating[Any]], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Z-scores within each list; a list whose values are all equal becomes zeros.

    Args:
        values: [entries], lists end to end.
        offsets: int64 [Q + 1]; list q is values[offsets[q]:offsets[q + 1]], at least one value.

    Returns:
        float64 [entries], mean 0 and standard deviation 1 within each list.
    """
    numbers = np.asarray(values, dtype=np.float64)
    starts, lengths = offsets[:-1], np.diff(offsets)
    constant = np.maximum.reduceat(numbers, starts) == np.minimum.reduceat(numbers, starts)
    centred = numbers - np.repeat(np.add.reduceat(numbers, starts) / lengths, lengths)
    deviation = np.sqrt(np.add.reduceat(centred**2, starts) / lengths)
    scale = np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))
    standardized: NDArray[np.float64] = centred * np.repeat(scale, lengths)
    return standardized

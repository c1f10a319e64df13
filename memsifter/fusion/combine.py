"""Scores of different kinds on one scale, their weighted sums, and the file of fitted weights."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, write_json
from memsifter.params import RetrievalParams
from memsifter.retrieval.catalogue import lexical_parts
from memsifter.retrieval.score_lists import ScoreLists


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


def weighted_sum(lists: ScoreLists, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Sum of the standardised scores, each times its weight; float64 [entries]."""
    total = np.zeros(int(lists.offsets[-1]))
    for name, weight in weights.items():
        total += weight * standardize(lists.columns[name], lists.offsets)
    return total


def combine_scores(
    lists: ScoreLists, params: RetrievalParams, fitted_weights: Mapping[str, float]
) -> dict[str, NDArray[np.floating[Any]]]:
    """The scores by which each of `METHODS` orders the sessions, each [entries].

    `dense` is the best chunk's cosine, `lexical` the mean of the standardised lexical parts, `hand_weighted` the sum of
    both and of the agreement of dates, standardised and weighted by `retrieval.weights`; `fitted` sums the scores of
    `fitted_weights`.
    """
    parts = lexical_parts(params)
    kinds = {
        "dense": lists.columns["dense_chunk_max"],
        "lexical": weighted_sum(lists, {name: 1 / len(parts) for name in parts}),
        "date": lists.columns["date"],
    }
    summands = ScoreLists(lists.question_ids, lists.offsets, kinds)
    return {
        "dense": kinds["dense"],
        "lexical": kinds["lexical"],
        "hand_weighted": weighted_sum(summands, params.weights.model_dump()),
        "fitted": weighted_sum(lists, fitted_weights),
    }


@dataclass(frozen=True)
class FittedWeights:
    """Weights of the standardised scores, and where they come from.

    Attributes:
        source: `fitted`, or `default` where there were no questions to fit on.
        weights: by name of the score.
        l2: how strongly they were held to the default weights.
        questions: how many train questions with gold each dataset gave.
        training_set: hash of these questions, their gold and their haystacks; None without any.
    """

    source: Literal["fitted", "default"]
    weights: Mapping[str, float]
    l2: float
    questions: Mapping[str, int]
    training_set: str | None


def write_weights(path: Path, weights: FittedWeights) -> None:
    """Write the weights as a small JSON file that a person can read."""
    write_json(path, asdict(weights))


def read_weights(path: Path) -> FittedWeights:
    """Read a file of `write_weights`.

    Raises:
        MemSifterError: it is missing, or not what `write_weights` writes.
    """
    try:
        weights = FittedWeights(**read_json(path))
        broken = [name for name, weight in weights.weights.items() if not math.isfinite(weight)]
    except (TypeError, AttributeError) as error:
        raise MemSifterError(f"{path}: not a file of weights ({error}); repeat fit_fusion") from error
    if broken:
        raise MemSifterError(f"{path}: the weight of {broken[0]} is not a finite number; repeat fit_fusion")
    return weights

"""Scores of different kinds on one scale, their weighted sums, and the file of fitted weights."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.fusion.likelihood import LIKELIHOOD, likelihood_feature
from memsifter.io.files import read_json, write_json
from memsifter.params import Method, RetrievalParams
from memsifter.retrieval.catalogue import lexical_parts
from memsifter.retrieval.score_lists import ScoreLists

# Scores that differ by less are equal: where the summands of a sum cancel out, as they may with two sessions, rounding
# errors are all that is left, and divided by their spread they would count as much as any other score.
_LEAST_SPREAD = 1e-12


def standardize(values: NDArray[np.floating[Any]], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Z-scores within each list; a list whose values are all equal, but for rounding errors, becomes zeros.

    Args:
        values: [entries], lists end to end.
        offsets: int64 [Q + 1]; list q is values[offsets[q]:offsets[q + 1]], at least one value.

    Returns:
        float64 [entries], mean 0 and standard deviation 1 within each list.
    """
    numbers = np.asarray(values, dtype=np.float64)
    starts, lengths = offsets[:-1], np.diff(offsets)
    constant = np.maximum.reduceat(numbers, starts) - np.minimum.reduceat(numbers, starts) < _LEAST_SPREAD
    centred = numbers - np.repeat(np.add.reduceat(numbers, starts) / lengths, lengths)
    deviation = np.sqrt(np.add.reduceat(centred**2, starts) / lengths)
    scale = np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))
    standardized: NDArray[np.float64] = centred * np.repeat(scale, lengths)
    return standardized


def feature(lists: ScoreLists, name: str) -> NDArray[np.float64]:
    """One score as sums take it, float64 [entries]: standardised, or `likelihood_feature`."""
    values = lists.columns[name]
    if name == LIKELIHOOD:
        return likelihood_feature(values.astype(np.float64), lists.offsets)
    return standardize(values, lists.offsets)


def weighted_sum(lists: ScoreLists, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Sum of the features, each times its weight; float64 [entries]."""
    total = np.zeros(int(lists.offsets[-1]))
    for name, weight in weights.items():
        total += weight * feature(lists, name)
    return total


def combine_scores(
    lists: ScoreLists,
    params: RetrievalParams,
    fitted_weights: Mapping[str, float],
    likelihood_weights: Mapping[str, float] | None = None,
) -> dict[str, NDArray[np.floating[Any]]]:
    """The scores by which each of `METHODS` orders the sessions, each [entries].

    `dense` is the best chunk's cosine, `lexical` the mean of the standardised lexical parts, `hand_weighted` the sum of
    both and of the agreement of dates, standardised and weighted by `retrieval.weights`; `fitted` sums the scores of
    `fitted_weights`, and `fitted_likelihood`, which is there with `likelihood_weights` alone, sums those of these.
    """
    parts = lexical_parts(params)
    kinds = {
        "dense": lists.columns["dense_chunk_max"],
        "lexical": weighted_sum(lists, {name: 1 / len(parts) for name in parts}),
        "date": lists.columns["date"],
    }
    summands = ScoreLists(lists.question_ids, lists.offsets, kinds)
    methods = {
        "dense": kinds["dense"],
        "lexical": kinds["lexical"],
        "hand_weighted": weighted_sum(summands, params.weights.model_dump()),
        "fitted": weighted_sum(lists, fitted_weights),
    }
    if likelihood_weights is not None:
        methods["fitted_likelihood"] = weighted_sum(lists, likelihood_weights)
    return methods


@dataclass(frozen=True)
class FittedWeights:
    """Weights of the features, and where they come from.

    Attributes:
        source: `fitted`, or `default` where there were no questions to fit on or fitting did not help.
        weights: by name of the score.
        l2: how strongly they were held to the default weights; None where they are these.
        losses: mean loss of a held-out question, by l2 (`default` for the default weights themselves); empty where l2
            was not chosen by cross-validation.
        questions: how many train questions with gold each dataset gave.
        training_set: hash of these questions, their gold and their haystacks; None without any.
    """

    source: Literal["fitted", "default"]
    weights: Mapping[str, float]
    l2: float | None
    losses: Mapping[str, float]
    questions: Mapping[str, int]
    training_set: str | None


def write_weights(path: Path, fitted: FittedWeights, with_likelihood: FittedWeights | None = None) -> None:
    """Write the weights of `fitted`, and of `fitted_likelihood` if any, as JSON that a person can read."""
    methods = {"fitted": fitted, "fitted_likelihood": with_likelihood}
    write_json(path, {name: asdict(weights) for name, weights in methods.items() if weights is not None})


def read_weights(path: Path, method: Method = "fitted") -> FittedWeights:
    """Read the weights of a method from a file of `write_weights`.

    Raises:
        MemSifterError: the file is missing, not what `write_weights` writes, or lacks this method.
    """
    content = read_json(path)
    if isinstance(content, dict) and "fitted" in content and method not in content:
        raise MemSifterError(f"{path}: holds no weights of {method}; repeat fit_fusion")
    try:
        weights = FittedWeights(**content[method])
        broken = [name for name, weight in weights.weights.items() if not math.isfinite(weight)]
    except (KeyError, TypeError, AttributeError) as error:
        raise MemSifterError(f"{path}: not a file of weights ({error}); repeat fit_fusion") from error
    if broken:
        raise MemSifterError(f"{path}: the weight of {broken[0]} is not a finite number; repeat fit_fusion")
    return weights

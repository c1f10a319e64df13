"""The fitted weights as a small file that a person can read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from memsifter.errors import MemSifterError
from memsifter.fusion.combine import standardize
from memsifter.fusion.listwise import TrainingLists, fit_weights
from memsifter.fusion.training_set import TrainingSet
from memsifter.io.files import read_json, write_json
from memsifter.params import RetrievalParams

_DIGITS = 4  # far below what a weight's own uncertainty is, far above what rounding differs by between machines


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


def training_lists(training: TrainingSet, names: tuple[str, ...]) -> TrainingLists:
    """The standardised scores of these names as features."""
    offsets = training.scores.offsets
    columns = [standardize(training.scores.columns[name], offsets) for name in names]
    return TrainingLists(np.stack(columns, axis=1), training.gold, offsets)


def default_weights(params: RetrievalParams) -> dict[str, float]:
    """`retrieval.fit.default_weights` of the scores in use; 0 for those that it does not name."""
    return {name: params.fit.default_weights.get(name, 0.0) for name in params.scores}


def fit_fusion(training: TrainingSet | None, params: RetrievalParams) -> FittedWeights:
    """Fit the weights of `retrieval.scores`; without training questions, the default weights."""
    start = default_weights(params)
    if training is None:
        return FittedWeights("default", start, params.fit.l2, {}, None)
    values = fit_weights(training_lists(training, params.scores), params.fit.l2, np.asarray(list(start.values())))
    weights = {name: round(float(value), _DIGITS) for name, value in zip(start, values, strict=True)}
    return FittedWeights("fitted", weights, params.fit.l2, dict(training.questions), training.sha256)


def write_weights(path: Path, weights: FittedWeights) -> None:
    """Write the file."""
    write_json(path, asdict(weights))


def read_weights(path: Path) -> FittedWeights:
    """Read the file.

    Raises:
        MemSifterError: it is missing, or not what `write_weights` writes.
    """
    try:
        return FittedWeights(**read_json(path))
    except TypeError as error:
        raise MemSifterError(f"{path}: not a file of weights ({error}); repeat fit_fusion") from error

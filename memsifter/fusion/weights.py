"""The weights of the coarse scores as a small file that a person can read."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, write_json


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
    """Write the file."""
    write_json(path, asdict(weights))


def read_weights(path: Path) -> FittedWeights:
    """Read the file.

    Raises:
        MemSifterError: it is missing, or not what `write_weights` writes.
    """
    try:
        found = FittedWeights(**read_json(path))
        broken = [name for name, weight in found.weights.items() if not math.isfinite(weight)]
    except (TypeError, AttributeError) as error:
        raise MemSifterError(f"{path}: not a file of weights ({error}); repeat fit_fusion") from error
    if broken:
        raise MemSifterError(f"{path}: the weight of {broken[0]} is not a finite number; repeat fit_fusion")
    return found

"""How a ranker's rankings were made: the weight of its score beside the coarse score, and the file that holds it."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, write_json

FusionMethod = Literal["written", "fixed", "fitted", "order"]
_METHODS: tuple[FusionMethod, ...] = get_args(FusionMethod)
_FUSED = ("fixed", "fitted")


@dataclass(frozen=True)
class RankFusion:
    """How rankings were made, as `data/rankings/<ranker>/<dataset>.json` holds it.

    Attributes:
        method: `written` (the ranker's own order first), `fixed` or `fitted` (fused with a weight), or `order` (a
            coarse order, no ranker).
        weight: of the ranker's score beside the standardised coarse score; None where nothing is fused.
        scale: the softmax of scale x fused score gives probabilities.
        questions: train questions with gold among the candidates that the weight was fitted on.
        gain: what the ranker's score adds to the log-likelihood of the gold sessions on held-out conversations, in nats
            per question; None where it was not measured.
        standard_error: of the gain.
        note: why a fitted weight is 0; "" otherwise.
    """

    method: FusionMethod
    weight: float | None = None
    scale: float = 1.0
    questions: int = 0
    gain: float | None = None
    standard_error: float | None = None
    note: str = ""

    def describe(self) -> str:
        """The weight and where it comes from, as one line."""
        if self.weight is None:
            return "a coarse order" if self.method == "order" else "what the ranker puts first, then the coarse order"
        text = f"coarse score + {self.weight:g} x the ranker's score"
        if self.method == "fixed":
            return text
        text += f", fitted on {self.questions} train questions"
        if self.gain is not None:
            text += f" (on conversations held out {self.gain:+.4f} ± {self.standard_error:.4f} nats per question)"
        return f"{text}: {self.note}" if self.note else text


def write_rank_fusion(path: Path, fusion: RankFusion) -> None:
    """Write a small JSON file that a person can read."""
    write_json(path, asdict(fusion))


def read_rank_fusion(path: Path) -> RankFusion:
    """Read a file of `write_rank_fusion`.

    Raises:
        MemSifterError: it is missing, or not what `write_rank_fusion` writes.
    """
    content = read_json(path)
    try:
        fusion = RankFusion(**content)
        fits = _is_weight(fusion.weight) if fusion.method in _FUSED else fusion.weight is None
    except TypeError as error:
        raise MemSifterError(f"{path}: not what the stage rank writes ({error}); repeat rank") from error
    if not fits or fusion.method not in _METHODS:
        raise MemSifterError(f"{path}: {fusion.method!r} with the weight {fusion.weight!r}; repeat rank")
    return fusion


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0

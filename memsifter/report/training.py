"""How the training rounds went: reward and NDCG by step, and what was gained on held-out questions."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from memsifter.io.files import read_json
from memsifter.io.paths import training_report_directory
from memsifter.params import Params
from memsifter.report.charts import draw_lines
from memsifter.report.series import Series, read_series

_GAINS = {"reward": "reward", "ndcg": "NDCG", "well_formed": "well-formed outputs"}


@dataclass(frozen=True)
class Gain:
    """A validation measure before and after training; the bounds are those of the paired 95 % interval."""

    name: str
    first: float
    last: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Training:
    """One round."""

    name: str
    start_from: str
    questions: int
    first_step: int
    last_step: int
    gains: tuple[Gain, ...]
    rewards: Markup
    validation: Markup


def describe_training(params: Params) -> list[Training]:
    """Read the training reports of every round.

    Raises:
        MemSifterError: a report is missing.
    """
    return [_describe(name, item.start_from) for name, item in params.rounds.items()]


def _describe(name: str, start_from: str) -> Training:
    directory = training_report_directory(name)
    validation = read_json(directory / "validation.json")
    series = read_series(directory / "curve.csv", "series", "step", "value")
    return Training(
        name=name,
        start_from=start_from,
        questions=validation["questions"],
        first_step=validation["first_step"],
        last_step=validation["last_step"],
        gains=tuple(_gain(label, validation[key]) for key, label in _GAINS.items()),
        rewards=draw_lines(_select(series, validated=False), "step", "of the sampled rankings"),
        validation=draw_lines(_select(series, validated=True), "step", "on held-out questions"),
    )


def _gain(label: str, values: Mapping[str, float]) -> Gain:
    return Gain(label, values["first"], values["last"], values["gain"], values["gain_low"], values["gain_high"])


def _select(series: Series, validated: bool) -> Series:
    """The validation's series, or those of the training batches."""
    return {name: points for name, points in series.items() if name.startswith("validation") == validated}

"""The figures of a benchmark: one row per piece of work, done in the reference way and in ours."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from memsifter.io.files import write_text


@dataclass(frozen=True)
class Row:
    """One piece of work, measured both ways on the same data.

    Attributes:
        work: what is done, and on how much.
        reference_way: how the scripts that we replace do it.
        reference: its figure in `unit`, a median.
        ours: ours, in the same unit.
        unit: of both; processor seconds (`CPU s`) unless something else is what matters.
        target: the ratio that is wanted; None if none was set.
        floor: the least that the work can take, in the same unit; None where it cannot be counted.
        floor_is: what the floor counts.
        note: why ours is not at the floor, or not at the target; what else is to know.
        more_is_better: the figures are rates.
    """

    work: str
    reference_way: str
    reference: float
    ours: float
    unit: str
    target: float | None = None
    floor: float | None = None
    floor_is: str = ""
    note: str = ""
    more_is_better: bool = False

    @property
    def ratio(self) -> float:
        """How many times better ours is."""
        better, worse = (self.ours, self.reference) if self.more_is_better else (self.reference, self.ours)
        return better / worse if worse else float("inf")

    @property
    def from_floor(self) -> float | None:
        """How many times what the floor says ours takes; 1 is the best."""
        if self.floor is None:
            return None
        better, worse = (self.ours, self.floor) if self.more_is_better else (self.floor, self.ours)
        return worse / better if better else float("inf")


@dataclass(frozen=True)
class Scale:
    """What ours takes at one size of the work."""

    work: str
    size: str
    ours: float
    unit: str


@dataclass(frozen=True)
class Result:
    """All that a benchmark found."""

    rows: Sequence[Row]
    scaling: Sequence[Scale] = field(default=())


def add_rows_option(parser: argparse.ArgumentParser) -> None:
    """The option by which `make bench` collects the figures."""
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write the figures to a JSON file, too")


def finish(result: Result, path: Path | None) -> None:
    """Print the figures, and write them where a path is given."""
    print(table([describe(row) for row in result.rows]))
    if result.scaling:
        print(table([asdict(scale) | {"ours": number(scale.ours)} for scale in result.scaling]))
    if path:
        write_text(path, json.dumps(asdict(result)))


def read_result(path: Path) -> Result:
    """What `finish` wrote."""
    return parse_result(json.loads(path.read_text(encoding="utf-8")))


def parse_result(values: Mapping[str, Any]) -> Result:
    """A result from its JSON."""
    return Result([Row(**row) for row in values["rows"]], [Scale(**scale) for scale in values["scaling"]])


def describe(row: Row) -> dict[str, str]:
    """A line of the table of all work."""
    return {
        "work": row.work,
        "reference": number(row.reference),
        "ours": number(row.ours),
        "unit": row.unit,
        "ratio": times(row.ratio),
        "target": "" if row.target is None else f"{times(row.target)} or more",
        "met": "" if row.target is None else "yes" if row.ratio >= row.target else "**no**",
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table; numbers come as text."""
    return f"{pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)}\n"


def number(value: float) -> str:
    """Three significant digits; thousands are separated."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times(ratio: float) -> str:
    """A ratio as text."""
    return f"{number(ratio)}x"

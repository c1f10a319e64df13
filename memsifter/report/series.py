"""Series of points, as the stages write them for plots: CSV with a row per point."""

import csv
from pathlib import Path

from memsifter.errors import MemSifterError

Series = dict[str, list[tuple[float, float]]]
"""Points (x, y) by name, both in the order of the file."""


def read_series(path: Path, name: str, x: str, y: str, **only: str) -> Series:
    """Read the points of every series.

    Args:
        path: the file.
        name: the column that names the series.
        x: the column of x.
        y: the column of y.
        only: values that columns must have; other rows are left out.

    Raises:
        MemSifterError: the file is missing.
    """
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; run the stage that writes it (dvc repro)")
    series: Series = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if all(row[column] == value for column, value in only.items()):
                series.setdefault(row[name], []).append((float(row[x]), float(row[y])))
    return series

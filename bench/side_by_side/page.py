"""docs/results/benchmarks.md, written from the rows of the benchmarks."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.side_by_side.rows import Result, Row, describe, number, parse_result, table, times
from memsifter.io.files import read_json, write_json, write_text
from memsifter.io.paths import ROOT

FIGURES = ROOT / "docs" / "results" / "benchmarks"
PAGE = ROOT / "docs" / "results" / "benchmarks.md"
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_HEAD = """# Benchmarks

Each piece of work in the reference way (what the authors' scripts do) and in ours, on the same data in one run: in
turn, medians where it is repeated. `make bench` runs all of them and writes this page; `memsifter bench side_by_side
NAME` repeats one, and `memsifter bench NAME` runs it alone with other sizes. Seconds are the processor's where not said
otherwise; only the ratios carry over to another machine.
"""
_FLOORS = """## The floor

The least that the work can take, and how many times that ours takes. Where no number is given, it was not measured.
"""
_RAN = """## What ran

The load is the machine's, over five minutes, the benchmark included. Beside other work, figures on the clock and those
of engines, whose idle threads spin, are worse than alone.
"""


@dataclass(frozen=True)
class Run:
    """One benchmark's run.

    Attributes:
        name: the benchmark.
        arguments: what it was called with.
        result: its figures.
        seconds: on the clock.
        problem: why figures are missing, else empty.
        day: when it ran.
        commit: of which code.
        load: processes that wanted a core, mean of the last five minutes; the benchmark is one or two of them.
        machine: cores and processor features.
    """

    name: str
    arguments: Sequence[str]
    result: Result
    seconds: float
    problem: str
    day: str
    commit: str
    load: float
    machine: str


def stamp() -> dict[str, Any]:
    """What a run says of where it ran."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    features = ", ".join(name for name in _FEATURES if name in flags) or "no AVX2"
    git = ("git", "rev-parse", "--short", "HEAD")
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit or "unknown",
        "load": os.getloadavg()[1],
        "machine": f"{len(os.sched_getaffinity(0))} cores ({features})",
    }


def write_run(folder: Path, run: Run) -> None:
    """Keep the figures of one benchmark, unless it failed where an earlier run did not."""
    path = folder / f"{run.name}.json"
    if not run.problem or not path.exists():
        write_json(path, asdict(run))


def read_runs(folder: Path, names: Sequence[str]) -> list[Run]:
    """The runs that are kept, in the order of the names."""
    runs = []
    for name in names:
        path = folder / f"{name}.json"
        if path.exists():
            values = read_json(path)
            runs.append(Run(**values | {"result": parse_result(values["result"])}))
    return runs


def write_page(path: Path, runs: Sequence[Run], names: Sequence[str]) -> None:
    """Write the page of all runs, which names those that were never run."""
    write_text(path, render_page(runs, [name for name in names if name not in {run.name for run in runs}]))


def render_page(runs: Sequence[Run], never: Sequence[str] = ()) -> str:
    """The page: all work, targets that are missed, what was not measured, floors, scaling, and what ran."""
    rows = [row for run in runs for row in run.result.rows]
    scaling = [scale for run in runs for scale in run.result.scaling]
    parts = [_HEAD]
    if rows:
        parts += ["## Work\n", table([describe(row) for row in rows])]
    if missed := [_explain(row) for row in rows if row.target is not None and row.ratio < row.target]:
        parts += ["## Targets that are not met\n", "\n".join(missed) + "\n"]
    problems = [f"- `{run.name}`: {run.problem}" for run in runs if run.problem]
    if problems := [*problems, *(f"- `{name}`: not run yet" for name in never)]:
        parts += ["## Not measured\n", "\n".join(problems) + "\n"]
    if rows:
        parts += [_FLOORS, table([_floor(row) for row in rows])]
    if scaling:
        lines = [asdict(scale) | {"ours": number(scale.ours)} for scale in scaling]
        parts += ["## Scaling\n", table(lines)]
    return "\n".join([*parts, _RAN, table([_command(run) for run in runs])])


def _explain(row: Row) -> str:
    return f"- {row.work} ({row.unit}): {times(row.ratio)}, wanted {times(row.target or 0)} or more. {row.note}"


def _floor(row: Row) -> dict[str, str]:
    return {
        "work": row.work,
        "reference way": row.reference_way,
        "floor": row.floor_is,
        "": "" if row.floor is None else f"{number(row.floor)} {row.unit}",
        "ours / floor": "" if row.from_floor is None else f"{number(row.from_floor)}",
        "why": row.note,
    }


def _command(run: Run) -> dict[str, str]:
    command = " ".join(["memsifter bench", run.name, *run.arguments])
    return {
        "command": f"`{command}`",
        "minutes": f"{run.seconds / 60:.1f}",
        "load": f"{run.load:.1f}",
        "machine": run.machine,
        "commit": run.commit,
        "date": run.day,
    }

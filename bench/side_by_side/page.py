"""docs/results/benchmarks.md, written from the rows of the benchmarks."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.side_by_side.rows import Result, Row, describe, number, table, times
from memsifter.io.files import write_text
from memsifter.io.paths import ROOT

PAGE = ROOT / "docs" / "results" / "benchmarks.md"
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_HEAD = """# Benchmarks

Each piece of work in the reference way (what the authors' scripts do) and in ours, on the same data in one run: in
turn, medians where it is repeated. `make bench` runs all of them and writes this page; `memsifter bench NAME` runs one,
with other sizes. Seconds are the processor's where not said otherwise: what else the machine does is hardly in them,
and only the ratios carry over to another machine.
"""
_FLOORS = """## The floor

The least that the work can take, and how many times that ours takes. Where no number is given, it was not measured.
"""


@dataclass(frozen=True)
class Run:
    """One benchmark's run; `problem`: why figures are missing, else empty."""

    name: str
    arguments: Sequence[str]
    result: Result
    seconds: float
    problem: str


def write_page(path: Path, runs: Sequence[Run], seconds: float) -> None:
    """Write the page, with the machine, the commit and the day."""
    write_text(path, render_page(runs, f"{describe_machine()} {describe_commit()}, {seconds / 60:.0f} minutes in all."))


def render_page(runs: Sequence[Run], measured: str) -> str:
    """The page: all work, what was not measured, targets that are missed, floors, scaling, and what ran."""
    rows = [row for run in runs for row in run.result.rows]
    scaling = [scale for run in runs for scale in run.result.scaling]
    parts = [_HEAD, f"{measured}\n"]
    if rows:
        parts += ["## Work\n", table([describe(row) for row in rows])]
    if problems := [f"- `{run.name}`: {run.problem}" for run in runs if run.problem]:
        parts += ["## Not measured in this run\n", "\n".join(problems) + "\n"]
    if missed := [_explain(row) for row in rows if row.target is not None and row.ratio < row.target]:
        parts += ["## Targets that are not met\n", "\n".join(missed) + "\n"]
    if rows:
        parts += [_FLOORS, table([_floor(row) for row in rows])]
    if scaling:
        lines = [asdict(scale) | {"ours": number(scale.ours)} for scale in scaling]
        parts += ["## Scaling\n", table(lines)]
    parts += ["## What ran\n", table([_command(run) for run in runs])]
    return "\n".join(parts)


def describe_machine() -> str:
    """Cores, processor features that matter here, and how busy the machine is."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    features = ", ".join(name for name in _FEATURES if name in flags) or "no AVX2"
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[2]
    return f"Measured on {cores} cores ({features}), which other work shared (load {load:.1f} over 15 minutes),"


def describe_commit() -> str:
    """The day and the commit."""
    git = ("git", "rev-parse", "--short", "HEAD")
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return f"on {datetime.now(UTC):%Y-%m-%d} at commit {commit or 'unknown'}"


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
    return {
        "command": f"`memsifter bench {' '.join([run.name, *run.arguments])}`",
        "minutes": f"{run.seconds / 60:.1f}",
    }

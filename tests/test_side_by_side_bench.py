"""The rows of benchmarks, and the page made of them; the benchmarks themselves take minutes."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.side_by_side.__main__ import BENCHMARKS
from bench.side_by_side.page import Run, read_runs, render_page, stamp, write_run
from bench.side_by_side.rows import Result, Row, Scale, finish, read_result
from bench.side_by_side.timing import alternate, in_process, seconds
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT

FAST = Row("sum numbers", "one by one", 12.0, 2.0, "CPU s", 5, 1.0, "read once", "Nearly there.")
SLOW = replace(FAST, work="count words", ours=4.0, note="Words are long.")
RATE = Row("read", "a byte at a time", 100.0, 400.0, "MB/s", 3, 800.0, "the disk", more_is_better=True)


def test_a_rate_is_better_when_it_is_higher() -> None:
    assert (FAST.ratio, FAST.from_floor) == (6.0, 2.0)
    assert (RATE.ratio, RATE.from_floor) == (4.0, 2.0)
    assert replace(FAST, floor=None).from_floor is None


def test_rows_survive_their_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = Result([FAST, RATE], [Scale("sum numbers", "10", 1234.5, "CPU s")])
    finish(result, tmp_path / "rows.json")
    assert read_result(tmp_path / "rows.json") == result
    assert "1,234" in capsys.readouterr().out


def run_of(name: str, result: Result, problem: str = "") -> Run:
    return Run(name, ["--size", "10"], result, 90, problem, **stamp())


def test_the_page_names_what_is_missed_and_what_is_missing() -> None:
    done = run_of("sums", Result([FAST, SLOW, RATE], [Scale("sum", "10 numbers", 2.0, "CPU s")]))
    page = render_page([done, run_of("words", Result([]), "not done within 600 s")])
    missed = page.partition("## Targets that are not met")[2].partition("##")[0]
    assert missed.split("\n")[2] == "- count words (CPU s): 3x, wanted 5x or more. Words are long."
    assert "sum numbers" not in missed
    assert "- `words`: not done within 600 s" in page
    assert "`memsifter bench sums --size 10`" in page
    assert "10 numbers" in page.partition("## Scaling")[2]


def test_one_benchmark_is_repeated_without_the_others(tmp_path: Path) -> None:
    first, second = run_of("sums", Result([FAST], [])), run_of("words", Result([SLOW], []))
    for run in (first, second):
        write_run(tmp_path, run)
    again = replace(first, result=Result([replace(FAST, ours=1.0)], []))
    write_run(tmp_path, again)
    assert read_runs(tmp_path, ["sums", "words", "never ran"]) == [again, second]
    write_run(tmp_path, run_of("sums", Result([]), "ended with exit code 1"))
    assert read_runs(tmp_path, ["sums"]) == [again]


def test_every_benchmark_is_a_command() -> None:
    assert all((ROOT / "bench" / f"{name}.py").is_file() for name in BENCHMARKS)


def test_waiting_takes_no_processor_seconds() -> None:
    assert seconds(lambda: time.sleep(0.1)) < 0.05
    slow, fast = alternate(lambda: sum(range(2_000_000)), lambda: sum(range(2_000)))
    assert slow > fast


def _refuse(what: str) -> Mapping[str, Any]:
    raise MemSifterError(what)


def test_what_a_measurement_refuses_is_said_where_it_was_started() -> None:
    with pytest.raises(MemSifterError, match="no such file"):
        in_process(_refuse, "a: no such file")

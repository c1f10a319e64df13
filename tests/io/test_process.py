import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import runs

from memsifter.io.process import quote_log, read_lines, start_process, stop_process

SLEEP = "import time; time.sleep(60)"
# vLLM's server, killed before it has connected to the engine that it has just started.
ORPHAN = f"""
import os, signal
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
{SLEEP}
"""


def wait_for_end(number: int) -> None:
    deadline = time.monotonic() + 20
    while runs(number):
        assert time.monotonic() < deadline, "the process still runs"
        time.sleep(0.05)


def wait_for_line(log: Path) -> str:
    while not read_lines(log):
        time.sleep(0.05)
    return read_lines(log)[0]


@pytest.mark.parametrize("child", [SLEEP, ORPHAN])
def test_a_child_and_its_own_children_end_with_a_parent_that_is_killed(child: str, tmp_path: Path) -> None:
    script = (
        "import os, sys, time, pathlib; from memsifter.io.process import start_process\n"
        "child = start_process([sys.executable, '-c', sys.argv[1]], pathlib.Path(sys.argv[2]), os.environ)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", script, child, str(log)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    numbers = [int(parent.stdout.readline())]
    if child == ORPHAN:
        numbers.append(int(wait_for_line(log)))
        assert all(runs(number) for number in numbers)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for number in numbers:
        wait_for_end(number)


def test_what_a_stopped_child_has_left_behind_is_ended(tmp_path: Path) -> None:
    process = start_process([sys.executable, "-c", ORPHAN], tmp_path / "log", os.environ)
    orphan = int(wait_for_line(tmp_path / "log"))
    stop_process(process, "the child", patience=5)
    assert process.returncode == -signal.SIGTERM
    wait_for_end(orphan)


def test_what_a_child_that_ended_by_itself_has_left_behind_is_ended(tmp_path: Path) -> None:
    process = start_process([sys.executable, "-c", ORPHAN], tmp_path / "log", os.environ)
    orphan = int(wait_for_line(tmp_path / "log"))
    process.kill()  # as the kernel does when memory is short
    process.wait()
    assert runs(orphan)
    stop_process(process, "the child", patience=5)
    wait_for_end(orphan)


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    process = start_process([sys.executable, "-c", script], tmp_path / "log", os.environ)
    wait_for_line(tmp_path / "log")
    stop_process(process, "the child", patience=0.2)
    assert process.returncode == -signal.SIGKILL


def test_a_log_is_quoted_from_its_last_error_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("KeyError: early\nmore\n\x1b[36m(Worker pid=12, ip=1.2.3.4)\x1b[0m ValueError: bad\n  at the end\n")
    assert quote_log(log) == f"ValueError: bad at the end (whole log: {log})"


def test_a_log_without_an_error_is_quoted_by_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\n\n")
    assert quote_log(log) == f"two (whole log: {log})"
    log.write_text("")
    assert quote_log(log) == f"no output (whole log: {log})"

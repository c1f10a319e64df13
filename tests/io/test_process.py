import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from memsifter.io.process import quote_log, read_lines, start_process, stop_process


def test_a_child_ends_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, sys, time, pathlib; from memsifter.io.process import start_process\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "child = start_process(sleep, pathlib.Path(sys.argv[1]), os.environ)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the child still runs"
        time.sleep(0.05)


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    process = start_process([sys.executable, "-c", script], tmp_path / "log", os.environ)
    while not read_lines(tmp_path / "log"):
        time.sleep(0.05)
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

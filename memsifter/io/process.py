"""Processes that do not outlive their parent, and what their logs say when they fail."""

import ctypes
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

_REASON_CHARS = 400
_PR_SET_PDEATHSIG = 1
_CLEANUP_SECONDS = 120.0  # a trainer has 60 s to stop
# Waits for the end of who started it, then of the group's first process, which has its death signal and, if it is a
# trainer, a minute's work to do; kills the rest. An ended process that nobody waits for (Z) has ended.
_GUARD = """
read -r _
seconds=0
while grep -q '^State:[^Z]*$' "/proc/$1/status" && [ "$seconds" -lt 70 ]; do sleep 1; seconds=$((seconds + 1)); done
sleep 2
kill -s KILL -- "-$1"
"""
_GUARDS: "dict[subprocess.Popen[bytes], subprocess.Popen[bytes]]" = {}  # of each process of `start_process`
# Terminal colours, and the worker that Ray names before each line.
_COLOUR = r"\x1b\[[0-9;]*m"
_DECORATION = re.compile(rf"^(?:{_COLOUR})*\([\w:.]+ pid=[^)]*\)(?:{_COLOUR})* ?|{_COLOUR}")


def start_process(
    command: Sequence[str], log: Path, environment: Mapping[str, str], death_signal: signal.Signals = signal.SIGTERM
) -> subprocess.Popen[bytes]:
    """Start a command, without a shell, in a process group of its own; its output goes to `log`.

    The group ends with this process, even if that is killed. `stop_process` ends it before.

    Args:
        command: the program and its arguments.
        log: written anew.
        environment: the whole environment of the child.
        death_signal: what Linux sends the child when this process ends, however that ends.
    """
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - a list of our own arguments, no shell
            command,
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_parent(death_signal),
        )
    _GUARDS[process] = _start_guard(process.pid)
    return process


def _start_guard(group: int) -> subprocess.Popen[bytes]:
    """Start what ends a process group after this process has ended.

    The death signal reaches the first process of the group alone. If that has just started another one (vLLM's server
    its engine, which then waits for it for five minutes) and does not come to end it, nobody else would.
    """
    return subprocess.Popen(  # noqa: S603 - our own script; a number is its argument
        ["/bin/sh", "-c", _GUARD, "guard", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stop_process(process: subprocess.Popen[bytes], name: str, patience: float) -> None:
    """End the process group of a process of `start_process`: politely, and after `patience` seconds by force.

    Also what is left of the group of a process that has ended by itself.
    """
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal_number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop within %.0f s; killing it", name, patience)
    # What the first process has left behind. While any of it lives, Linux gives its number to no other process.
    if not psutil.pid_exists(process.pid):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if guard := _GUARDS.pop(process, None):
        guard.kill()
        guard.communicate()


def read_lines(log: Path) -> list[str]:
    """The lines of a log that say something, without colours and without the names of Ray's workers."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = (_DECORATION.sub("", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


class LineTail:
    """Reads what another process appends to a file: each line once, when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[bytes]:
        """The new lines; the file need not exist yet."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line


def quote_log(log: Path) -> str:
    """What the log says from the last line on that names an error, else its last line; cut to one short line."""
    lines = read_lines(log)
    errors = [number for number, line in enumerate(lines) if "Error" in line]
    said = " ".join(lines[errors[-1] if errors else -1 :]) or "no output"
    return f"{said[:_REASON_CHARS]} (whole log: {log})"


def find_launcher(variable: str) -> psutil.Process | None:
    """The program that set this environment variable for the commands that it starts (DVC: `DVC_STAGE`), if it lives.

    A shell may run between it and this process. None without the variable.
    """
    if variable not in os.environ:
        return None
    return next((process for process in psutil.Process().parents() if not _inherits(process, variable)), None)


def end_with_launcher(variable: str) -> None:
    """End when the program ends that set this environment variable for its commands (see `find_launcher`).

    A shell between the two lives on when the launcher is ended, so the parent's end says nothing. This process is then
    interrupted as by Ctrl-C: `finally` blocks and exit handlers run, so that child processes, Ray among them, end too.
    (Ray aborts on SIGTERM.) To be called by the main thread. Does nothing without the variable.
    """
    launcher = find_launcher(variable)
    if launcher is None:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of some shells

    def wait() -> None:
        with suppress(psutil.Error):
            launcher.wait()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_CLEANUP_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end with launcher", daemon=True).start()


def _inherits(process: psutil.Process, variable: str) -> bool:
    """Whether a process was started with this environment variable."""
    try:
        return variable in process.environ()
    except psutil.Error:
        return False


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """A function for a child to call before exec, which asks Linux for a signal at its parent's end."""
    prctl = ctypes.CDLL(None).prctl  # found before the fork, where little is safe to do

    def ask_for_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal)

    return ask_for_signal

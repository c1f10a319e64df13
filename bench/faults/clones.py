"""A clone in which the pipeline is killed, and what is left of it."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml
from pipeline_clone import Clone

from bench.stages import stage_name
from memsifter.io.files import sha256_file

BETWEEN = "between stages"
_MARK = "MEMSIFTER_FAULTS"
_PATIENCE_S = 150.0  # for what a killed pipeline leaves behind: a stage gives its children two minutes to stop
_SHOWN_CHARS = 200  # of a command line


@contextmanager
def start_repro(clone: Clone, target: str, log: Path) -> Iterator["Running"]:
    """Run `scripts/repro.sh` in a process group of its own, with a mark that all of its processes inherit.

    It is killed if this process is interrupted, so that it neither goes on nor keeps DVC's lock.
    """
    mark = f"{_MARK}={os.getpid()}-{time.time_ns()}"
    process = clone.start("env", mark, f"DVC_ARGS={target}", "bash", "scripts/repro.sh", log=log)
    running = Running(process.pid, mark, process)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()


class Running:
    """A pipeline at work."""

    def __init__(self, group: int, mark: str, process: subprocess.Popen[bytes]) -> None:
        self._group = group
        self._mark = mark
        self._process = process

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def stage(self) -> str:
        """The stage whose own process runs, not what an ended one has left behind; `BETWEEN` if none does."""
        for process in self._processes():
            with suppress(psutil.Error):
                if stage := stage_name(process.cmdline()):
                    return stage
        return BETWEEN

    def kill(self) -> list[str]:
        """Kill the whole group; the command lines of processes that did not end with it.

        Those are then killed one by one, so that the next run meets no process of this one.
        """
        os.killpg(self._group, signal.SIGKILL)
        self._process.wait()
        return self.reap()

    def reap(self) -> list[str]:
        """Wait for all processes to end; the command lines of those that do not, which are then killed."""
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            if not list(self._processes()) and not self._group_exists():
                return []
            time.sleep(0.5)
        left = []
        for process in self._processes():
            try:
                left.append(shown_command(process.cmdline()))
                process.kill()
            except psutil.Error:
                continue
        return left

    def _group_exists(self) -> bool:
        """Whether a process of the group is left, be it a zombie: DVC's lock holds as long as its process exists."""
        try:
            os.killpg(self._group, 0)
        except ProcessLookupError:
            return False
        return True

    def _processes(self) -> Iterator[psutil.Process]:
        name, _, value = self._mark.partition("=")
        for process in psutil.process_iter():
            try:
                if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.Error:  # ended meanwhile, or somebody else's
                continue


def shown_command(command_line: Sequence[str]) -> str:
    """A command line for the page of results: without the folders of the machine that it ran on."""
    return " ".join(Path(word).name if word.startswith("/") else word for word in command_line)[:_SHOWN_CHARS]


def hash_outs(root: Path) -> dict[str, str]:
    """SHA-256 of every file of every out that dvc.lock names, by path."""
    return {
        str(path.relative_to(root)): sha256_file(path)
        for stage in read_lock(root).values()
        for out in stage.get("outs", ())
        for path in (
            [root / out["path"]] if (root / out["path"]).is_file() else sorted((root / out["path"]).rglob("*"))
        )
        if path.is_file()
    }


def read_lock(root: Path) -> dict[str, dict[str, list[dict[str, str]]]]:
    """The stages of dvc.lock."""
    return dict(yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"])


def stale_files(root: Path) -> list[str]:
    """Temporary files beside outs, where another stage or DVC could take them for input."""
    aside = {".git", ".dvc", ".cache"}
    found = [path.relative_to(root) for path in root.rglob(".*.tmp")]
    return sorted(str(path) for path in found if path.parts[0] not in aside)


def runs_by_status(root: Path) -> dict[str, int]:
    """How many MLflow runs have each status."""
    with sqlite3.connect(f"file:{root / 'mlflow.db'}?mode=ro", uri=True) as database:
        return dict(database.execute("select status, count(*) from runs group by status"))

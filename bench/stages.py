"""What each stage of a run takes: python -m bench.stages [--pid N] [--rows FILE] [-- COMMAND ...].

Runs COMMAND (`bash scripts/repro.sh`, which is what `make repro` calls) and watches the processes of each stage that it
starts, or watches a run that has been started elsewhere, until it ends. Of each stage: seconds on the clock,
its start and its imports included, processor seconds, and peak memory. Memory is the sum of proportional set sizes: a
page that several processes share is counted once. Processes are looked at once in --interval seconds: what lives
shorter, and what a process uses after the last look at it, is missed. The sum leaves out the time between stages.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from bench.side_by_side.page import stamp
from bench.side_by_side.rows import number, table
from memsifter.io.files import write_text
from memsifter.io.paths import ROOT

_DEFAULT_RUN = ("bash", "scripts/repro.sh")
_STAGE_MODULE = "stages."
_GIBIBYTE = 1 << 30
_BETWEEN_STAGES_S = 0.2


@dataclass
class StageCost:
    """What one stage took so far.

    Attributes:
        stage: its name as in dvc.yaml.
        seconds: on the clock.
        cpu_seconds: of the processor, of all its processes.
        peak_gib: the most memory that they held together.
        processes: the most that it had at once.
    """

    stage: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_gib: float = 0.0
    processes: int = 0


@dataclass
class StageWatch:
    """Follows one stage by its first process; the others are that one's descendants, also once they are orphans."""

    process: psutil.Process
    cost: StageCost
    _seen: set[psutil.Process] = field(default_factory=set)
    _cpu_seconds: dict[psutil.Process, float] = field(default_factory=dict)

    def look(self) -> None:
        """Add what the stage holds and has used by now."""
        with suppress(psutil.Error):
            self._seen |= {self.process, *self.process.children(recursive=True)}
        memory = alive = 0
        for member in list(self._seen):
            try:
                if member.status() == psutil.STATUS_ZOMBIE:
                    continue
                times = member.cpu_times()
                self._cpu_seconds[member] = times.user + times.system
                memory += member.memory_full_info().pss
                alive += 1
            except psutil.NoSuchProcess:
                self._seen.discard(member)
            except psutil.Error:  # somebody else's
                continue
        self.cost.cpu_seconds = sum(self._cpu_seconds.values())
        self.cost.peak_gib = max(self.cost.peak_gib, memory / _GIBIBYTE)
        self.cost.processes = max(self.cost.processes, alive)

    def follow(self, interval: float) -> StageCost:
        """Look again and again until the first process ends."""
        started = self.process.create_time()
        while True:
            self.look()
            with suppress(psutil.TimeoutExpired):
                self.process.wait(timeout=interval)
                self.cost.seconds = time.time() - started
                return self.cost


def watch_stages(run: psutil.Process, interval: float = 1.0) -> Iterator[StageCost]:
    """The cost of each stage that a process starts, as soon as the stage ends, until the process ends."""
    while True:
        going = _is_running(run)
        if watched := _find_stage(run):
            yield watched.follow(interval)
        elif not going:
            return
        else:
            time.sleep(min(interval, _BETWEEN_STAGES_S))


def _is_running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _find_stage(run: psutil.Process) -> StageWatch | None:
    """The stage that runs now, if one does. DVC starts it through a shell, whose command line is another."""
    with suppress(psutil.NoSuchProcess):
        for process in (run, *run.children(recursive=True)):
            with suppress(psutil.Error):
                name = stage_name(process.cmdline())
                if name is not None and _is_running(process):
                    return StageWatch(process, StageCost(name))
    return None


def stage_name(command_line: Sequence[str]) -> str | None:
    """The stage that a command line runs, as DVC names it: rank@base-sample for `python -m stages.rank base sample`."""
    if "-m" not in command_line[:-1]:
        return None
    module, *keys = command_line[command_line.index("-m") + 1 :]
    if not module.startswith(_STAGE_MODULE):
        return None
    name = module.removeprefix(_STAGE_MODULE)
    return f"{name}@{'-'.join(keys)}" if keys else name


def summary(costs: Sequence[StageCost]) -> str:
    """A table of the stages and their sums; the whole run's peak is that of its greatest stage."""
    whole = StageCost(
        "all",
        sum(cost.seconds for cost in costs),
        sum(cost.cpu_seconds for cost in costs),
        max((cost.peak_gib for cost in costs), default=0.0),
        max((cost.processes for cost in costs), default=0),
    )
    return table(
        [
            {
                "stage": f"`{cost.stage}`" if cost is not whole else cost.stage,
                "seconds": number(cost.seconds),
                "CPU s": number(cost.cpu_seconds),
                "peak memory, GiB": number(cost.peak_gib),
                "processes": str(cost.processes),
            }
            for cost in (*costs, whole)
        ]
    )


def main() -> None:
    """Watch a run and print the table; the exit code is that of a run that is started here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid", type=int, help="watch this process instead of starting a command")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (default: 1)")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write the figures to a JSON file, too")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="default: the whole run")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    started = None if options.pid else subprocess.Popen(command or _DEFAULT_RUN, cwd=ROOT, env=_environment())
    costs: list[StageCost] = []
    with suppress(KeyboardInterrupt):
        for cost in watch_stages(psutil.Process(started.pid if started else options.pid), options.interval):
            costs.append(cost)
            print(
                f"{cost.stage}: {cost.seconds:.0f} s, {cost.cpu_seconds:.0f} CPU s, {cost.peak_gib:.2f} GiB",
                file=sys.stderr,
                flush=True,
            )
    where = stamp()
    print(summary(costs))
    print(f"{where['machine']}, load {where['load']:.1f} at the end, commit {where['commit']}, {where['day']}")
    if options.rows:
        write_text(options.rows, json.dumps({**where, "stages": [asdict(cost) for cost in costs]}, indent=1))
    sys.exit(started.wait() if started else 0)


def _environment() -> dict[str, str]:
    """As `make repro` sets it: commands of this virtual environment come first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


if __name__ == "__main__":
    main()

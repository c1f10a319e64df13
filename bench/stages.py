"""What each stage of a run takes: python -m bench.stages [--pid N] [--rows FILE] [-- COMMAND ...].

Runs COMMAND (`bash scripts/repro.sh`, which is what `make repro` calls) and watches the processes of each stage that it
starts, or watches a run that has been started elsewhere, until it ends. Of each stage: seconds on the clock,
its start and its imports included, processor seconds, and peak memory. Memory is the sum of proportional set sizes: a
page that several processes share is counted once. Processes are looked at once in --interval seconds, so that what
lives shorter is missed.
"""

import argparse
import json
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
    started: float
    _seen: dict[int, psutil.Process] = field(default_factory=dict)
    _cpu_seconds: dict[int, float] = field(default_factory=dict)

    def look(self) -> bool:
        """Add what the stage holds and has used by now; whether its first process still runs."""
        try:
            members = [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return False
        self._seen |= {member.pid: member for member in members}
        memory = alive = 0
        for pid, member in list(self._seen.items()):
            try:
                times = member.cpu_times()
                self._cpu_seconds[pid] = times.user + times.system
                memory += member.memory_full_info().pss
                alive += 1
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                del self._seen[pid]
        self.cost.seconds = time.time() - self.started
        self.cost.cpu_seconds = sum(self._cpu_seconds.values())
        self.cost.peak_gib = max(self.cost.peak_gib, memory / _GIBIBYTE)
        self.cost.processes = max(self.cost.processes, alive)
        return bool(self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE)


def watch_stages(run: psutil.Process, interval: float = 2.0) -> Iterator[StageCost]:
    """The cost of each stage that a process starts, as soon as the stage ends, until the process ends."""
    watched: StageWatch | None = None
    while True:
        going = run.is_running() and run.status() != psutil.STATUS_ZOMBIE
        if watched is None and going:
            watched = _find_stage(run)
        if watched is not None:
            with suppress(psutil.NoSuchProcess):
                if watched.look():
                    time.sleep(interval)
                    continue
            yield watched.cost
            watched = None
            continue
        if not going:
            return
        time.sleep(min(interval, 0.2))


def _find_stage(run: psutil.Process) -> StageWatch | None:
    """The stage that runs now, if one does. DVC starts it through a shell, whose command line is another."""
    for process in run.children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            name = stage_name(process.cmdline())
            if name is not None:
                return StageWatch(process, StageCost(name), process.create_time())
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
    """Watch a run and print the table; the exit code is the run's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid", type=int, help="watch this process instead of starting a command")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two looks (default: 2)")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write the figures to a JSON file, too")
    parser.add_argument("command", nargs="*", default=_DEFAULT_RUN)
    options = parser.parse_args()
    started = None if options.pid else subprocess.Popen(options.command, cwd=ROOT)
    costs = []
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


if __name__ == "__main__":
    main()

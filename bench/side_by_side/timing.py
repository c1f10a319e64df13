"""Timing two ways of the same work: in turn, so that what else the machine does hits both, and by medians."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from memsifter.errors import MemSifterError

Work = Callable[[], object]


def cpu_seconds() -> float:
    """Processor seconds of this process so far, of all its threads and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def seconds(work: Work) -> float:
    """Processor seconds that some work takes: what else the machine does is not counted."""
    start = cpu_seconds()
    work()
    return cpu_seconds() - start


def wall_seconds(work: Work) -> float:
    """Seconds on the clock, for work that waits."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(
    reference: Work, ours: Work, repeats: int = 3, clock: Callable[[Work], float] = seconds
) -> tuple[float, float]:
    """Medians of both ways, run in turn."""
    times = [(clock(reference), clock(ours)) for _ in range(repeats)]
    return median(pair[0] for pair in times), median(pair[1] for pair in times)


def peak_mib() -> float:
    """This process's own peak of resident memory; getrusage's would start at that of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def in_process(measure: Callable[..., Mapping[str, Any]], *arguments: Any) -> Mapping[str, Any]:
    """Run a measurement in a process of its own: an engine gives its memory back only when it ends.

    Raises:
        MemSifterError: what the measurement raised.
        RuntimeError: the process ended without a result, after printing why.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, measure, *arguments))
    process.start()
    sender.close()
    try:
        figures: Mapping[str, Any] | MemSifterError = receiver.recv()
    except EOFError as error:
        process.join()
        raise RuntimeError(f"{measure.__name__} ended with exit code {process.exitcode}") from error
    process.join()
    if isinstance(figures, MemSifterError):
        raise figures
    return figures


def _send(sender: Any, measure: Callable[..., Mapping[str, Any]], *arguments: Any) -> None:
    try:
        sender.send(measure(*arguments))
    except MemSifterError as error:
        sender.send(error)

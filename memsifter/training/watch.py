"""Watching over a trainer: its metrics as they come, and an end to one that hangs."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.training.jobs import Job
from memsifter.training.metrics_log import MetricsTail

OnStep = Callable[[int, Mapping[str, float]], None]
"""Called with a step's number and its metrics. Step 0 is the validation before training."""

_POLL_SECONDS = 0.5


def watch_job(job: Job, metrics: Path, log: Path, stall_minutes: float, on_step: OnStep) -> int:
    """Report every step of a trainer until it ends, and stop it in any case.

    Args:
        job: The running trainer.
        metrics: What verl's `file` logger writes.
        log: Its output, for the error.
        stall_minutes: How long it may take without finishing a step.
        on_step: Told about every step; what it raises is passed on.

    Returns:
        The exit code.

    Raises:
        MemSifterError: no step was finished for too long.
    """
    tail = MetricsTail(metrics)
    last_sign = time.monotonic()
    try:
        while True:
            code = job.poll()  # before the metrics are read: what was written until then is not missed
            for step, values in tail.read():
                last_sign = time.monotonic()
                on_step(step, values)
            if code is not None:
                return code
            if time.monotonic() - last_sign > 60 * stall_minutes:
                raise MemSifterError(
                    f"no step finished for {stall_minutes:g} minutes, so the trainer was stopped; see its log {log}. "
                    "If steps take that long, raise train.stall_minutes. The next run goes on from the last checkpoint"
                )
            time.sleep(_POLL_SECONDS)
    finally:
        job.stop()

"""Starting one of verl's trainers and following it to its end: command, environment, progress, cause of a failure."""

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from memsifter.errors import MemSifterError
from memsifter.io.process import LineTail, quote_log, read_lines
from memsifter.llm.runtime import engine_environment, python_path
from memsifter.params import ClusterParams, EngineParams
from memsifter.params.training import TrainParams
from memsifter.training.jobs import Job
from memsifter.training.run_directory import MetricsTail

logger = logging.getLogger(__name__)

OnStep = Callable[[int, Mapping[str, float]], None]
"""Called with a step's number and its metrics. Step 0 is the validation before training."""

# Not the folder for temporary files that the environment names: verl's sockets are in this one, whatever it says.
_LOCK_FILE = Path("/tmp/memsifter-training.lock")  # noqa: S108
_POLL_SECONDS = 0.5
_REASON_CHARS = 400
_EXCEPTION = re.compile(r"(?:\[rank\d+\]: *)?((?:\w+\.)*\w*(?:Error|Exception)\b: .+)")
_OUT_OF_MEMORY = b"killed due to memory pressure"  # Ray's words; verl would wait for these workers for ever
# How torchrun reports that a process failed; the process itself says why.
_LAUNCHER_ERROR = "ChildFailedError"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a trainer: what it reads and writes.

    Attributes:
        title: what it does, for messages ("training", "warm start").
        config: YAML file with verl's whole configuration.
        log: everything that the trainer prints.
        metrics: JSON lines of verl's `file` logger.
        first_step: the step that it continues from; 0 for a new run.
        last_step: the step that it ends with.
    """

    title: str
    config: Path
    log: Path
    metrics: Path
    first_step: int
    last_step: int


def verl_command(module: str, config: Path, launcher: Sequence[str] = ()) -> list[str]:
    """The command line of one of verl's trainers, with its whole configuration in one YAML file.

    Args:
        module: `verl.trainer.main_ppo` or `verl.trainer.sft_trainer`.
        config: the file.
        launcher: Python's arguments before the module, for a trainer that torchrun starts.
    """
    options = ["--config-path", str(config.parent), "--config-name", config.stem, "hydra/job_logging=disabled"]
    return [sys.executable, *launcher, "-m", module, *options]


def training_environment(train: TrainParams, engine: EngineParams, metrics: Path) -> dict[str, str]:
    """The environment variables of the trainer and of all its workers, on every machine.

    Args:
        train: for the device.
        engine: vLLM's settings.
        metrics: the file that verl's `file` logger writes.
    """
    environment = engine_environment(engine) | {
        "PYTHONPATH": python_path(),
        "PYTHONUNBUFFERED": "1",  # the log is read while it is written
        "RAY_USAGE_STATS_ENABLED": "0",
        "VERL_FILE_LOGGER_PATH": str(metrics),
    }
    if train.device == "cpu":
        environment |= {
            "VERL_PLATFORM": "cpu",
            "VERL_USE_EXTERNAL_MODULES": "memsifter.training.verl.cpu_platform",
            # The trainer and vLLM use the same cores alternately; neither may be bound to some of them.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # A thread that has nothing to do sleeps. Spinning, it would take the core that the other thread waits for,
            # which any other program on the machine makes a step of seconds one of minutes.
            "OMP_WAIT_POLICY": "passive",
            # Compiling takes minutes, more than it saves in a run of minutes.
            "TORCH_COMPILE_DISABLE": "1",
        }
    return environment


@contextmanager
def lock_directory(directory: Path, title: str) -> Iterator[None]:
    """Create a directory and keep it for this process.

    Raises:
        MemSifterError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise MemSifterError(f"{directory}: a {title} already runs here; wait for it or stop it") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def training_lock(cluster: ClusterParams, lock_file: Path = _LOCK_FILE) -> Iterator[None]:
    """Wait until no other training runs on this machine, and keep others out; nothing where training runs on a cluster.

    verl's trainer and rollout meet at sockets whose names hold the number of the Ray job, and the first job of every
    local Ray has the same number. A thread that has the lock may take it again.
    """
    if cluster.remote or cluster.job_server:
        yield
        return
    lock = FileLock(lock_file, mode=0o666, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for another training on this machine to end (%s)", lock_file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def follow(job: Job, attempt: Attempt, stall_minutes: float, on_step: OnStep, own_ray: bool = False) -> int:
    """Report every step of a trainer until it ends, with a progress bar; the trainer is stopped in any case.

    Args:
        job: the running trainer.
        attempt: its files and steps.
        stall_minutes: how long it may take without finishing a step.
        on_step: called for every step; an exception from it stops the trainer and is passed on.
        own_ray: whether the workers of its Ray are all its own; on a cluster, Ray may have killed somebody else's.

    Returns:
        The exit code.

    Raises:
        MemSifterError: no step was finished for too long, or Ray has killed workers for want of memory.
    """
    tail, log = MetricsTail(attempt.metrics), LineTail(attempt.log)
    last_sign = time.monotonic()
    logger.info("%s from step %d to %d (log: %s)", attempt.title, attempt.first_step, attempt.last_step, attempt.log)
    with tqdm(
        total=attempt.last_step, initial=attempt.first_step, desc=attempt.title, unit="step", mininterval=1
    ) as bar:
        try:
            while True:
                code = job.poll()  # before the metrics are read: what was written until then is not missed
                for step, values in tail.read():
                    last_sign = time.monotonic()
                    bar.update(max(0, step - bar.n))
                    on_step(step, values)
                if code is not None:
                    return code
                if own_ray and any(_OUT_OF_MEMORY in line for line in log.read()):
                    raise MemSifterError(
                        f"{attempt.title} was stopped: the machine had no memory left, and Ray killed workers that it "
                        "cannot go on without; end other programs, or see `memsifter plan` for what to lower, and run "
                        f"the stage again to continue (log: {attempt.log})"
                    )
                if time.monotonic() - last_sign > 60 * stall_minutes:
                    raise MemSifterError(
                        f"no step finished for {stall_minutes:g} minutes, so the trainer was stopped; see its log "
                        f"{attempt.log}. If steps take that long, raise train.stall_minutes; run the stage again to "
                        "continue"
                    )
                time.sleep(_POLL_SECONDS)
        finally:
            job.stop()


def explain_failure(log: Path, after: str | None = None) -> str:
    """The exception that ended a trainer, from its log, as one short line.

    Args:
        log: the log.
        after: the first exception behind the first line with this text is the cause, if there is such a line; else
            the last exception of the log.
    """
    lines = read_lines(log)
    marked = [number for number, line in enumerate(lines) if after is not None and after in line]
    for line in lines[marked[0] :] if marked else lines[::-1]:
        match = _EXCEPTION.match(line)
        if match and _LAUNCHER_ERROR not in line:
            return f"{match[1][:_REASON_CHARS]} (whole log: {log})"
    return quote_log(log)

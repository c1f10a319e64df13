"""Where verl's trainer runs: a process of this machine, or a job on a Ray cluster."""

import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.io.process import start_process, stop_process
from memsifter.llm.runtime import engine_environment
from memsifter.params import EngineParams
from memsifter.params.training import TrainParams
from memsifter.training.run_directory import MetricsTail

logger = logging.getLogger(__name__)

RUNTIME_ENVIRONMENT = ROOT / "configs" / "ray" / "runtime_env.yaml"
_JOB_STOP_SECONDS = 120.0
_LOST_POLLS = 300  # in a row, one a second
_RUN = "memsifter_run"  # in a job's metadata: which run it trains


class Job(Protocol):
    """A running trainer."""

    def poll(self) -> int | None:
        """None while it runs, then its exit code (negative: the signal that killed it)."""

    def stop(self) -> None:
        """End it, if it still runs; its output is in the log afterwards."""


def verl_command(module: str, config: Path, launcher: Sequence[str] = ()) -> list[str]:
    """Run one of verl's trainers with a whole configuration, as one YAML file.

    Args:
        module: `verl.trainer.main_ppo` or `verl.trainer.sft_trainer`.
        config: The file.
        launcher: Python's arguments before the module, for one that is started by another.
    """
    options = ["--config-path", str(config.parent), "--config-name", config.stem, "hydra/job_logging=disabled"]
    return [sys.executable, *launcher, "-m", module, *options]


class LocalJob:
    """A child process of this machine.

    Args:
        command: The trainer.
        log: Its output; written anew.
        environment: What it must see, beside this process's own environment.
        patience: Seconds that it has to end when it is asked to.
        death_signal: What it gets when this process ends, however that ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        patience: float,
        death_signal: signal.Signals,
    ) -> None:
        # Ray would prefer this variable to the configuration.
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self._patience = patience
        self._process = start_process(command, log, {**inherited, **environment}, death_signal)

    def poll(self) -> int | None:
        """Exit code of the process."""
        return self._process.poll()

    def stop(self) -> None:
        """End its process group."""
        stop_process(self._process, "verl's trainer", self._patience)


class RayJob:
    """A job of a Ray cluster, submitted to its job server (`http://head:8265`).

    The cluster's machines see the repository, its virtual environment and the cache under the same paths.

    Raises:
        MemSifterError: the job server does not answer, refuses the job, or already has one that trains this run: a
            job lives on when the stage that submitted it is killed.
    """

    def __init__(
        self, address: str, run: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        from ray.job_submission import JobSubmissionClient

        self._log = log
        self._lost_polls = 0
        try:
            self._client = JobSubmissionClient(address)
            self._refuse_second_trainer(run)
            self._id: str = self._client.submit_job(
                entrypoint=shlex.join(command),
                runtime_env=job_environment(environment),
                metadata={_RUN: run},
            )
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise MemSifterError(f"cluster.job_server: {address} does not take the training ({reason})") from error
        logger.info("submitted the Ray job %s to %s", self._id, address)

    def _refuse_second_trainer(self, run: str) -> None:
        for job in self._client.list_jobs():
            if (job.metadata or {}).get(_RUN) == run and not job.status.is_terminal():
                raise MemSifterError(
                    f"the Ray job {job.submission_id} still trains this run; wait for it, or stop it with "
                    f"ray job stop {job.submission_id}"
                )

    def poll(self) -> int | None:
        """0 for a job that succeeded, 1 for one that failed or was stopped; None also where the server is away."""
        try:
            status = self._client.get_job_status(self._id)
        except (OSError, RuntimeError) as error:
            self._lost_polls += 1
            if self._lost_polls > _LOST_POLLS:
                raise MemSifterError(f"cluster.job_server does not answer any more ({error})") from error
            return None
        self._lost_polls = 0
        if not status.is_terminal():
            return None
        self._write_log()
        return 0 if status == "SUCCEEDED" else 1

    def stop(self) -> None:
        """Stop the job and wait until its processes are gone."""
        deadline = time.monotonic() + _JOB_STOP_SECONDS
        try:
            self._client.stop_job(self._id)
            while not self._client.get_job_status(self._id).is_terminal():
                if time.monotonic() > deadline:
                    raise RuntimeError("it goes on")
                time.sleep(1)
            self._write_log()
        except (OSError, RuntimeError) as error:
            logger.error("the Ray job %s may still run (%s); stop it with ray job stop %s", self._id, error, self._id)

    def _write_log(self) -> None:
        try:
            self._log.write_text(self._client.get_job_logs(self._id), encoding="utf-8")
        except (OSError, RuntimeError) as error:
            logger.warning("the log of the Ray job %s could not be fetched (%s)", self._id, error)


def job_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """`configs/ray/runtime_env.yaml` with the trainer's variables, which its own `env_vars` override."""
    values: dict[str, Any] = yaml.safe_load(RUNTIME_ENVIRONMENT.read_text(encoding="utf-8")) or {}
    return values | {"env_vars": {**environment, **(values.get("env_vars") or {})}}


def training_environment(train: TrainParams, engine: EngineParams, metrics: Path) -> dict[str, str]:
    """What the trainer and all its workers must see, on every machine.

    Args:
        train: For the device.
        engine: vLLM's settings.
        metrics: The file that verl's `file` logger writes.
    """
    environment = engine_environment(engine) | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",  # the log is read while it is written
        "RAY_USAGE_STATS_ENABLED": "0",
        "VERL_FILE_LOGGER_PATH": str(metrics),
    }
    if train.device == "cpu":
        environment |= {
            "VERL_PLATFORM": "cpu",
            "VERL_USE_EXTERNAL_MODULES": "memsifter.training.verl.cpu_platform",
            # The trainer and vLLM take turns on the same cores; neither may be bound to some of them.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # With it, vLLM's CPU engine insists on one more process for the model itself.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            # Compiling costs minutes, which a run of minutes does not earn back.
            "TORCH_COMPILE_DISABLE": "1",
        }
    return environment


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

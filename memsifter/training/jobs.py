"""Where verl's trainer runs: a process of this machine, or a job on a Ray cluster."""

import logging
import os
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.io.process import start_process, stop_process

logger = logging.getLogger(__name__)

RUNTIME_ENVIRONMENT = ROOT / "configs" / "ray" / "runtime_env.yaml"
_JOB_STOP_SECONDS = 120.0
_LOST_POLLS = 300  # in a row, two a second
_RUN = "memsifter_run"  # in a job's metadata: which run it trains


class Job(Protocol):
    """A running trainer."""

    def poll(self) -> int | None:
        """None while it runs, then its exit code (negative: the signal that killed it)."""

    def stop(self) -> None:
        """End it, if it still runs; its output is in the log afterwards."""


class LocalJob:
    """A child process of this machine.

    Args:
        command: the trainer.
        log: where its output goes; overwritten.
        environment: variables that it needs, added to this process's own environment.
        patience: seconds between SIGTERM and SIGKILL when it is stopped.
        death_signal: the signal that Linux sends it when this process ends, however that ends.
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
        # Ray reads this variable before the configuration.
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
            raise MemSifterError(f"cluster.job_server: {address} did not accept the job ({reason})") from error
        logger.info("submitted the Ray job %s to %s", self._id, address)

    def _refuse_second_trainer(self, run: str) -> None:
        for job in self._client.list_jobs():
            if (job.metadata or {}).get(_RUN) == run and not job.status.is_terminal():
                raise MemSifterError(
                    f"the Ray job {job.submission_id} is still training this run; wait for it, or stop it with "
                    f"ray job stop {job.submission_id}"
                )

    def poll(self) -> int | None:
        """0 for a job that succeeded, 1 for one that failed or was stopped; None also while the server is away."""
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
                    raise RuntimeError(f"it did not stop within {_JOB_STOP_SECONDS:.0f} s")
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
    """`configs/ray/runtime_env.yaml` plus the trainer's variables; the file's own `env_vars` take precedence."""
    values: dict[str, Any] = yaml.safe_load(RUNTIME_ENVIRONMENT.read_text(encoding="utf-8")) or {}
    return values | {"env_vars": {**environment, **(values.get("env_vars") or {})}}

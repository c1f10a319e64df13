"""Where verl's trainer runs: a process of this machine, or a job on a Ray cluster."""

import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.io.process import start_process, stop_process
from memsifter.llm.runtime import RAY_ADDRESS
from memsifter.params import ClusterParams

logger = logging.getLogger(__name__)

RUNTIME_ENVIRONMENT = ROOT / "configs" / "ray" / "runtime_env.yaml"
_JOB_STOP_SECONDS = 120.0
_LOST_POLLS = 300  # in a row, two a second
_RUN = "memsifter_run"  # in a job's metadata: which run it trains
_NO_AGENT = "No available agent"  # a head that has just started has a server before it has what starts jobs
_AGENT_SECONDS = 60.0
# The trainer gives `ray.init` the variables that its job has; without this, Ray refuses a variable that both name.
_JOB_VARIABLES = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}


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
        # Ray's own processes read this variable before the configuration; `environment` has it where it is wanted.
        inherited = {name: value for name, value in os.environ.items() if name != RAY_ADDRESS}
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

    Args:
        address: of the job server.
        run: a name that no other training of the cluster has.
        command: the trainer.
        log: where its output goes when it has ended.
        environment: the variables of the job, and of all processes that it starts on the cluster.
        gpus: GPUs that the command itself needs, beside those that it asks Ray for.

    Raises:
        MemSifterError: the job server does not answer, refuses the job, or already has one that trains this run: a
            job lives on when the stage that submitted it is killed.
    """

    def __init__(
        self,
        address: str,
        run: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        gpus: int = 0,
    ) -> None:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        self._log = log
        self._lost_polls = 0
        request = {
            "entrypoint": shlex.join(command),
            "runtime_env": job_environment(environment),
            "metadata": {_RUN: run},
            **({"entrypoint_num_gpus": gpus} if gpus else {}),
        }
        try:
            self._client = JobSubmissionClient(address)
            self._refuse_second_trainer(run)
            self._id = self._submit(request)
        except AuthenticationError as error:
            raise MemSifterError(
                f"cluster.job_server: {address} wants the token of its cluster; set RAY_AUTH_MODE=token, and the token "
                "as RAY_AUTH_TOKEN or in ~/.ray/auth_token"
            ) from error
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise MemSifterError(f"cluster.job_server: {address} did not accept the job ({reason})") from error
        logger.info("submitted the Ray job %s to %s", self._id, address)

    def _submit(self, request: Mapping[str, Any]) -> str:
        deadline = time.monotonic() + _AGENT_SECONDS
        while True:
            try:
                submission: str = self._client.submit_job(**request)
            except RuntimeError as error:
                if _NO_AGENT not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return submission

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


def start_job(
    cluster: ClusterParams,
    run: str,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    *,
    patience: float,
    death_signal: signal.Signals,
    gpus: int = 0,
) -> Job:
    """Start a trainer where `cluster` says.

    Args:
        cluster: which Ray.
        run: as `RayJob` takes it.
        command: the trainer.
        log: where its output goes.
        environment: variables that it needs.
        patience: as `LocalJob` takes it.
        death_signal: as `LocalJob` takes it.
        gpus: GPUs that the command itself needs: it then runs on a machine of the cluster that has them. 0: it asks
            Ray for all it needs, from wherever it runs.

    Raises:
        MemSifterError: the job server refuses it.
    """
    if cluster.job_server:
        return RayJob(cluster.job_server, run, command, log, environment, gpus=gpus)
    if gpus and cluster.address and cluster.remote:
        command = [
            *(sys.executable, "-m", "memsifter.training.ray_command", "--address", cluster.address),
            *("--gpus", str(gpus), "--variables", ",".join(environment), "--", *command),
        ]
    if cluster.address == "auto" and (address := os.environ.get(RAY_ADDRESS)):
        environment = {**environment, RAY_ADDRESS: address}
    return LocalJob(command, log, environment, patience=patience, death_signal=death_signal)


def job_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """`configs/ray/runtime_env.yaml` plus the trainer's variables; the file's own `env_vars` take precedence."""
    values: dict[str, Any] = yaml.safe_load(RUNTIME_ENVIRONMENT.read_text(encoding="utf-8")) or {}
    return values | {"env_vars": {**environment, **_JOB_VARIABLES, **(values.get("env_vars") or {})}}

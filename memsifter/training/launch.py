"""Run a training round with verl, from its start or from its last checkpoint, and watch over it."""

import logging
import re
import signal
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from memsifter.errors import MemSifterError
from memsifter.io.process import quote_log, read_lines
from memsifter.params import ClusterParams, EngineParams
from memsifter.params.training import TrainParams
from memsifter.training.jobs import Job, LocalJob, OnStep, RayJob, training_environment, verl_command, watch_job
from memsifter.training.run_directory import RunDirectory, validation_reward
from memsifter.training.verl.config import save_config

logger = logging.getLogger(__name__)

_STOP_SECONDS = 20.0
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception)\b[^:]*: ")
_FAILED_QUESTION = "Error in _run_prompt"
_RAY_ERROR = "ray.exceptions.RayTaskError"  # names the worker; the error itself comes later


def run_training(
    config: DictConfig,
    train: TrainParams,
    engine: EngineParams,
    cluster: ClusterParams,
    run: RunDirectory,
    on_step: OnStep,
) -> None:
    """Train until `train.steps` are done; returns at once when they are.

    A run that was interrupted goes on from its last checkpoint. `on_step` gets the steps before it first, then every
    new step when it ends; what it raises stops training and is passed on.

    Args:
        config: From `compose_config`.
        train: How to train.
        engine: vLLM's settings.
        cluster: Where: on this machine, on a Ray cluster, or as a job of one.
        run: Checkpoints, logs and metrics.
        on_step: Told about every step.

    Raises:
        MemSifterError: training failed (with its reason), stalled, or already runs in this directory.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.path / ".lock", timeout=0):
            run.repair()
            for step, metrics in run.history().items():
                on_step(step, metrics)
            if not run.is_complete(train.steps):
                _run_attempt(config, train, engine, cluster, run, on_step)
            run.prune(train.keep_best)
    except Timeout as error:
        raise MemSifterError(f"{run.path}: training already runs here; wait for it or stop it") from error


def _run_attempt(
    config: DictConfig,
    train: TrainParams,
    engine: EngineParams,
    cluster: ClusterParams,
    run: RunDirectory,
    on_step: OnStep,
) -> None:
    number = run.attempts() + 1
    written, log, metrics = (run.attempt(suffix, number) for suffix in ("yaml", "log", "jsonl"))
    environment = training_environment(train, engine, metrics)
    save_config(_attempt_config(config, environment, run), written)
    start = run.latest_step()
    logger.info("training from step %d to %d (log: %s)", start, train.steps, log)
    command = verl_command("verl.trainer.main_ppo", written)
    job: Job
    if cluster.job_server:
        job = RayJob(cluster.job_server, run.path.name, command, log, environment)
    else:
        # Killed outright with its parent: a trainer that shuts down slowly would still write checkpoints when the next
        # attempt already reads them. Ray's processes end with the one that started them.
        job = LocalJob(command, log, environment, patience=_STOP_SECONDS, death_signal=signal.SIGKILL)
    with tqdm(total=train.steps, initial=start, desc="training", unit="step", mininterval=1) as bar:

        def report(step: int, values: Mapping[str, float]) -> None:
            bar.update(max(0, step - bar.n))
            logger.info("%s", _describe(step, train.steps, values))
            on_step(step, values)
            run.prune(train.keep_best)

        code = watch_job(job, metrics, log, train.stall_minutes, report)
    if run.is_complete(train.steps):
        if code != 0:
            logger.warning("training is complete, but its process ended with code %s; see %s", code, log)
    elif code != 0:
        raise MemSifterError(f"training ended with code {code} after step {run.latest_step()}: {_explain(log)}")
    else:
        raise MemSifterError(f"training ended at step {run.latest_step()} of {train.steps} without an error; see {log}")


def _attempt_config(config: DictConfig, environment: Mapping[str, str], run: RunDirectory) -> DictConfig:
    """What differs between attempts. The checkpoint to start from is tested first, unless it already was."""
    attempt = config.copy()
    OmegaConf.update(attempt, "trainer.default_local_dir", str(run.path))
    OmegaConf.update(attempt, "trainer.validation_data_dir", str(run.generations))
    OmegaConf.update(attempt, "trainer.val_before_train", run.latest_step() not in run.validation_rewards())
    OmegaConf.update(attempt, "ray_kwargs.ray_init.runtime_env.env_vars", dict(environment), force_add=True)
    return attempt


def _describe(step: int, steps: int, metrics: Mapping[str, float]) -> str:
    parts = []
    for name, label, unit in (
        ("critic/rewards/mean", "reward", ""),
        ("response_length/mean", "response", " tokens"),
        ("timing_s/step", "took", " s"),
    ):
        if name in metrics:
            parts.append(f"{label} {metrics[name]:.3g}{unit}")
    if (validation := validation_reward(metrics)) is not None:
        parts.append(f"validation reward {validation:.3g}")
    return f"step {step}/{steps}: {', '.join(parts)}"


def _explain(log: Path) -> str:
    """The first exception of a question that failed, where that ended training; else the last exception of the log."""
    lines = read_lines(log)
    failed = [number for number, line in enumerate(lines) if _FAILED_QUESTION in line]
    since = lines[failed[0] :] if failed else lines[::-1]
    for line in since:
        if _EXCEPTION.match(line) and not line.startswith(_RAY_ERROR):
            return f"{line[:400]} (whole log: {log})"
    return quote_log(log)

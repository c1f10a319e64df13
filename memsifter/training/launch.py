"""Run the reinforcement learning of a round with verl's trainer, from the start or from the last checkpoint."""

import logging
import signal
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from memsifter.errors import MemSifterError
from memsifter.params import ClusterParams, EngineParams
from memsifter.params.training import TrainParams
from memsifter.training.jobs import Job, start_job
from memsifter.training.run_directory import RunDirectory, validation_reward
from memsifter.training.trainer import (
    Attempt,
    OnStep,
    explain_failure,
    follow,
    lock_directory,
    training_environment,
    training_lock,
    verl_command,
)
from memsifter.training.verl.schema import save_config

logger = logging.getLogger(__name__)

_STOP_SECONDS = 20.0
_FAILED_QUESTION = "Error in _run_prompt"  # verl's words for a question whose reward raised an exception
# Metrics that are shown for every step: verl's name, ours, unit.
_SHOWN = (
    ("critic/rewards/mean", "reward", ""),
    ("response_length/mean", "response", " tokens"),
    ("timing_s/step", "took", " s"),
)


def run_training(
    config: DictConfig,
    train: TrainParams,
    engine: EngineParams,
    cluster: ClusterParams,
    run: RunDirectory,
    on_step: OnStep,
) -> None:
    """Train until `train.steps` are done; returns at once if they are.

    An interrupted run continues from its last checkpoint. On this machine it waits until no other training runs.

    Args:
        config: from `compose_config`.
        train: how to train.
        engine: vLLM's settings.
        cluster: where: on this machine, on a Ray cluster, or as a job of one.
        run: checkpoints, logs and metrics.
        on_step: called for the steps of earlier attempts, then for every new step when it ends. An exception from it
            stops training and is passed on.

    Raises:
        MemSifterError: training failed (with its reason), stalled, or already runs in this directory.
    """
    with lock_directory(run.path, "training"):
        run.repair()
        for step, metrics in run.history().items():
            on_step(step, metrics)
        if not run.is_complete(train.steps):
            with training_lock(cluster):
                _run_attempt(config, train, engine, cluster, run, on_step)
        run.prune(train.keep_best)


def _run_attempt(
    config: DictConfig,
    train: TrainParams,
    engine: EngineParams,
    cluster: ClusterParams,
    run: RunDirectory,
    on_step: OnStep,
) -> None:
    written, log, metrics = (run.attempt(suffix, run.attempts() + 1) for suffix in ("yaml", "log", "jsonl"))
    attempt = Attempt("training", written, log, metrics, first_step=run.latest_step(), last_step=train.steps)
    environment = training_environment(train, engine, metrics)
    save_config(_attempt_config(config, environment, run), written)

    def report(step: int, values: Mapping[str, float]) -> None:
        logger.info("%s", _describe(step, train.steps, values))
        on_step(step, values)
        run.prune(train.keep_best)

    own_ray = not (cluster.remote or cluster.job_server)
    code = follow(_start(attempt, environment, cluster, run), attempt, train.stall_minutes, report, own_ray)
    if run.is_complete(train.steps):
        if code != 0:
            logger.warning("training is complete, but its process ended with code %s; see %s", code, log)
    elif code != 0:
        reason = explain_failure(log, after=_FAILED_QUESTION)
        raise MemSifterError(f"training ended with code {code} after step {run.latest_step()}: {reason}")
    else:
        raise MemSifterError(f"training ended at step {run.latest_step()} of {train.steps} without an error; see {log}")


def _start(attempt: Attempt, environment: Mapping[str, str], cluster: ClusterParams, run: RunDirectory) -> Job:
    command = verl_command("verl.trainer.main_ppo", attempt.config)
    # Killed outright with its parent: a trainer that shuts down slowly would still write checkpoints when the next
    # attempt already reads them. Ray's processes end with the one that started them.
    return start_job(
        cluster,
        run.path.name,
        command,
        attempt.log,
        environment,
        patience=_STOP_SECONDS,
        death_signal=signal.SIGKILL,
    )


def _attempt_config(config: DictConfig, environment: Mapping[str, str], run: RunDirectory) -> DictConfig:
    """What differs between attempts. The checkpoint to continue from is tested first, unless it was tested before."""
    attempt = config.copy()
    OmegaConf.update(attempt, "trainer.default_local_dir", str(run.path))
    OmegaConf.update(attempt, "trainer.validation_data_dir", str(run.generations))
    OmegaConf.update(attempt, "trainer.rollout_data_dir", str(run.rollouts))
    OmegaConf.update(attempt, "trainer.val_before_train", run.latest_step() not in run.validation_rewards())
    OmegaConf.update(attempt, "ray_kwargs.ray_init.runtime_env.env_vars", dict(environment), force_add=True)
    return attempt


def _describe(step: int, steps: int, metrics: Mapping[str, float]) -> str:
    parts = [f"{label} {metrics[name]:.3g}{unit}" for name, label, unit in _SHOWN if name in metrics]
    if (validation := validation_reward(metrics)) is not None:
        parts.append(f"validation reward {validation:.3g}")
    return f"step {step}/{steps}: {', '.join(parts)}"

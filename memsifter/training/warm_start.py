"""The optional warm start: supervised steps on gold rankings by verl's SFT trainer, before reinforcement learning."""

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory
from memsifter.models.check import check_model
from memsifter.params import ClusterParams, EngineParams
from memsifter.params.data import Kind
from memsifter.params.training import TrainParams, WarmStartParams
from memsifter.training.jobs import start_job
from memsifter.training.run_directory import MetricsTail
from memsifter.training.trainer import (
    Attempt,
    OnStep,
    explain_failure,
    follow,
    lock_directory,
    training_environment,
    verl_command,
)
from memsifter.training.verl.schema import save_config
from memsifter.training.verl.sft import Examples, compose_sft_config, write_gold_rankings

_STOP_SECONDS = 60.0  # torchrun gives its processes 30 s; they live in sessions of their own, and only it ends them


@dataclass(frozen=True)
class WarmStartInputs:
    """What a warm start learns from.

    Attributes:
        model: Hugging Face directory to start from.
        train_files: Parquet files of the round's RL data.
        first_number: the number of the first candidate in the ranker's prompt, by the dataset's kind.
        opened_thought: what the ranker's chat template writes of every output (`memsifter.llm.tokens.opened_thought`).
        max_tokens: the longest prompt with its response.
        seed: of torch.
    """

    model: Path
    train_files: tuple[Path, ...]
    first_number: Mapping[Kind, int]
    max_tokens: int
    seed: int
    opened_thought: str = ""


def warm_start(
    inputs: WarmStartInputs,
    params: WarmStartParams,
    train: TrainParams,
    engine: EngineParams,
    cluster: ClusterParams,
    directory: Path,
    on_step: OnStep,
) -> Path:
    """Teach a model the output format; returns at once when `directory` holds the result.

    `train.gpus_per_node` processes run on one machine: this one, or one of the cluster that reinforcement learning runs
    on. An interrupted warm start starts from scratch.

    Args:
        inputs: model and data.
        params: how much to train.
        train: where: device and processes, and the most tokens of one forward pass.
        engine: for the environment that all of verl's processes share.
        cluster: where: on this machine, on a Ray cluster, or as a job of one.
        directory: the folder of this warm start; another model, data or parameters need another folder.
        on_step: called for every step, also for those of a finished warm start; an exception from it stops training.

    Returns:
        A Hugging Face directory below `directory`; float32 weights, tokenizer, chat template.

    Raises:
        MemSifterError: training failed (with its reason), stalled, or already runs in this directory; or the data or
            the sizes do not fit.
    """
    out, metrics = directory / "model", directory / "metrics.jsonl"
    with lock_directory(directory, "warm start"):
        if out.is_dir():
            for step, values in MetricsTail(metrics).read():
                on_step(step, values)
            return out
        attempt = _new_attempt(directory, params.steps)
        config = _prepare(inputs, params, train, attempt.config.parent)
        _run_attempt(config, attempt, train, engine, cluster, on_step)
        shutil.copyfile(attempt.metrics, metrics)
        _collect(_checkpoints(attempt.config.parent) / f"global_step_{params.steps}", out)
        for folder in directory.glob("attempt_*"):
            shutil.rmtree(_checkpoints(folder), ignore_errors=True)
    return out


def _new_attempt(directory: Path, steps: int) -> Attempt:
    """A folder of its own: processes of an attempt that was killed may live on, and write, for half a minute."""
    folder = directory / f"attempt_{len(list(directory.glob('attempt_*'))) + 1}"
    folder.mkdir()
    config, log, metrics = (folder / name for name in ("sft.yaml", "sft.log", "metrics.jsonl"))
    return Attempt("warm start", config, log, metrics, first_step=0, last_step=steps)


def _checkpoints(folder: Path) -> Path:
    return folder / "checkpoints"


def _prepare(inputs: WarmStartInputs, params: WarmStartParams, train: TrainParams, folder: Path) -> DictConfig:
    """Write the examples and compose the configuration."""
    file = folder / "gold_rankings.parquet"
    limit = params.steps * params.batch_size
    count = write_gold_rankings(inputs.train_files, inputs.first_number, limit, file, inputs.opened_thought)
    examples = Examples(file, count, inputs.max_tokens)
    return compose_sft_config(inputs.model, examples, params, train, inputs.seed, _checkpoints(folder))


def _run_attempt(
    config: DictConfig,
    attempt: Attempt,
    train: TrainParams,
    engine: EngineParams,
    cluster: ClusterParams,
    on_step: OnStep,
) -> None:
    save_config(config, attempt.config)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc-per-node={train.gpus_per_node}"]
    job = start_job(
        cluster,
        f"{attempt.config.parents[2].name}-warm-start",
        verl_command("verl.trainer.sft_trainer", attempt.config, launcher),
        attempt.log,
        sft_environment(train, engine, attempt.metrics),
        patience=_STOP_SECONDS,
        death_signal=signal.SIGTERM,
        gpus=train.gpus_per_node,
    )
    if code := follow(job, attempt, train.stall_minutes, on_step):
        # Of several processes, the first exception is the cause: the others then lose their connection.
        raise MemSifterError(f"the warm start ended with code {code}: {explain_failure(attempt.log, after='')}")


def sft_environment(train: TrainParams, engine: EngineParams, metrics: Path) -> dict[str, str]:
    """The environment of the trainer's processes: as in reinforcement learning, with the cores shared among them."""
    environment = training_environment(train, engine, metrics)
    if train.device == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // train.gpus_per_node))
    return environment


def _collect(checkpoint: Path, out: Path) -> None:
    # Imported here: verl takes many seconds to load, and a finished warm start does not need it.
    from memsifter.checkpoints.fsdp import merge_shards

    with atomic_directory(out) as temporary:
        merge_shards(checkpoint, temporary)
        check_model(temporary)

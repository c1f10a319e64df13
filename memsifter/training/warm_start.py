"""The optional warm start: supervised steps on gold rankings by verl's SFT trainer, before reinforcement learning."""

import logging
import os
import re
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig
from tqdm import tqdm

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory
from memsifter.io.process import quote_log, read_lines
from memsifter.models.conversion import check_model
from memsifter.params import EngineParams
from memsifter.params.data import Kind
from memsifter.params.training import TrainParams, WarmStartParams
from memsifter.training.jobs import LocalJob, OnStep, training_environment, verl_command, watch_job
from memsifter.training.run_directory import MetricsTail
from memsifter.training.verl.config import save_config
from memsifter.training.verl.sft import Examples, compose_sft_config, write_gold_rankings

logger = logging.getLogger(__name__)

_STOP_SECONDS = 60.0  # torchrun gives its processes 30 s; they live in sessions of their own, and only it ends them
_EXCEPTION = re.compile(r"(?:\[rank\d+\]: *)?((?:\w+\.)*\w*(?:Error|Exception)\b: .+)")
_LAUNCHER_ERROR = "ChildFailedError"


@dataclass(frozen=True)
class WarmStartInputs:
    """What a warm start learns from.

    Attributes:
        model: Hugging Face directory to start from.
        train_files: Parquet files of the round's RL data.
        first_number: The number of the first candidate in the ranker's prompt, by the dataset's kind.
        max_tokens: The longest prompt with its response.
        seed: Of torch.
    """

    model: Path
    train_files: tuple[Path, ...]
    first_number: Mapping[Kind, int]
    max_tokens: int
    seed: int


def warm_start(
    inputs: WarmStartInputs,
    params: WarmStartParams,
    train: TrainParams,
    engine: EngineParams,
    directory: Path,
    on_step: OnStep,
) -> Path:
    """Teach a model the output format; returns at once when `directory` holds the result.

    All processes run on this machine, `train.gpus_per_node` of them. An interrupted warm start begins anew.

    Args:
        inputs: Model and data.
        params: How much to train.
        train: Where: device and processes, and the most tokens of one forward pass.
        engine: For the environment that all of verl's processes share.
        directory: Of this warm start; another model, data or parameters need another one.
        on_step: Told about every step, also about those of a finished warm start; what it raises stops training.

    Returns:
        A Hugging Face directory below `directory`; float32 weights, tokenizer, chat template.

    Raises:
        MemSifterError: training failed (with its reason), stalled, or already runs in this directory; or the data or
            the sizes do not fit.
    """
    directory.mkdir(parents=True, exist_ok=True)
    out, metrics = directory / "model", directory / "metrics.jsonl"
    try:
        with FileLock(directory / ".lock", timeout=0):
            if out.is_dir():
                for step, values in MetricsTail(metrics).read():
                    on_step(step, values)
                return out
            attempt = _new_attempt(directory)
            _run(_prepare(inputs, params, train, attempt), params, train, engine, attempt, on_step)
            shutil.copyfile(attempt / metrics.name, metrics)
            _collect(attempt / "checkpoints" / f"global_step_{params.steps}", out)
            for checkpoints in directory.glob("attempt_*/checkpoints"):
                shutil.rmtree(checkpoints)
    except Timeout as error:
        raise MemSifterError(f"{directory}: a warm start already runs here; wait for it or stop it") from error
    return out


def _new_attempt(directory: Path) -> Path:
    """A folder of its own: the processes of an attempt that was killed may live on, and write, for half a minute."""
    attempt = directory / f"attempt_{len(list(directory.glob('attempt_*'))) + 1}"
    attempt.mkdir()
    return attempt


def _prepare(inputs: WarmStartInputs, params: WarmStartParams, train: TrainParams, directory: Path) -> DictConfig:
    """Write the examples and compose the configuration."""
    file = directory / "gold_rankings.parquet"
    count = write_gold_rankings(inputs.train_files, inputs.first_number, params.steps * params.batch_size, file)
    examples = Examples(file, count, inputs.max_tokens)
    return compose_sft_config(inputs.model, examples, params, train, inputs.seed, directory / "checkpoints")


def _run(
    config: DictConfig,
    params: WarmStartParams,
    train: TrainParams,
    engine: EngineParams,
    directory: Path,
    on_step: OnStep,
) -> None:
    written, log, metrics = (directory / name for name in ("sft.yaml", "sft.log", "metrics.jsonl"))
    save_config(config, written)
    logger.info("warm start of %d steps (log: %s)", params.steps, log)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc-per-node={train.gpus_per_node}"]
    job = LocalJob(
        verl_command("verl.trainer.sft_trainer", written, launcher),
        log,
        sft_environment(train, engine, metrics),
        patience=_STOP_SECONDS,
        death_signal=signal.SIGTERM,
    )
    with tqdm(total=params.steps, desc="warm start", unit="step", mininterval=1) as bar:

        def report(step: int, values: Mapping[str, float]) -> None:
            bar.set_postfix_str(f"loss {values.get('train/loss', float('nan')):.3g}", refresh=False)
            bar.update()
            on_step(step, values)

        code = watch_job(job, metrics, log, train.stall_minutes, report)
    if code != 0:
        raise MemSifterError(f"the warm start ended with code {code}: {_explain(log)}")


def sft_environment(train: TrainParams, engine: EngineParams, metrics: Path) -> dict[str, str]:
    """What the trainer's processes must see: as in reinforcement learning, with the cores shared among them."""
    environment = training_environment(train, engine, metrics)
    if train.device == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // train.gpus_per_node))
    return environment


def _explain(log: Path) -> str:
    """The first exception of a trainer's process; torchrun reports behind it that a child failed, not why."""
    for line in read_lines(log):
        match = _EXCEPTION.match(line)
        if match and _LAUNCHER_ERROR not in line:
            return f"{match[1][:400]} (whole log: {log})"
    return quote_log(log)


def _collect(checkpoint: Path, out: Path) -> None:
    # Imported here: verl takes many seconds to load, and a finished warm start does not need it.
    from memsifter.checkpoints.fsdp import merge_shards

    with atomic_directory(out) as temporary:
        merge_shards(checkpoint, temporary)
        check_model(temporary)

"""verl's whole configuration for a warm start: `configs/verl/sft.yaml`, filled in from the parameters.

Pure: the same arguments always give the same tree, and nothing is written.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from memsifter.errors import MemSifterError
from memsifter.params.train import TrainParams
from memsifter.params.warm_start import WarmStartParams
from memsifter.training.composition import CONFIGS, compose_own, compose_schema
from memsifter.training.verl_schema import unknown_keys


@dataclass(frozen=True)
class Examples:
    """What a warm start trains on.

    Attributes:
        file: Parquet file with a column `messages`.
        count: its rows.
        max_tokens: the longest prompt with its response.
    """

    file: Path
    count: int
    max_tokens: int


def compose_sft_config(
    model: Path, examples: Examples, warm_start: WarmStartParams, train: TrainParams, seed: int, directory: Path
) -> DictConfig:
    """Compose and check the configuration of `verl.trainer.sft_trainer`.

    Args:
        model: Hugging Face directory to start from.
        examples: what to train on.
        warm_start: steps, batch size and learning rate.
        train: device, processes of one machine, and the most tokens of one forward pass.
        seed: of torch; the order of the examples is always the same.
        directory: where the checkpoint goes.

    Raises:
        MemSifterError: a batch cannot be filled or cannot be shared among the processes, or `configs/verl/sft.yaml`
            holds a key that verl does not know.
    """
    if warm_start.batch_size % train.gpus_per_node:
        raise MemSifterError(
            f"warm_start.batch_size ({warm_start.batch_size}) must be a multiple of train.gpus_per_node "
            f"({train.gpus_per_node})"
        )
    if examples.count < warm_start.batch_size:
        raise MemSifterError(
            f"warm_start.batch_size is {warm_start.batch_size}, but the round has {examples.count} train questions; "
            "lower it"
        )
    schema = compose_schema("sft_trainer_engine")
    config = compose_own("sft", [f"sft_hardware={train.device}"])
    config = OmegaConf.merge(config, _values(model, examples, warm_start, train, seed, directory))  # type: ignore[assignment]
    plain, known = (OmegaConf.to_container(tree, resolve=False) for tree in (config, schema))
    if unknown := list(unknown_keys(plain, known)):
        raise MemSifterError(f"{CONFIGS / 'sft.yaml'}: verl has no such key: {', '.join(unknown)}")
    OmegaConf.resolve(config)
    return config


def _values(
    model: Path, examples: Examples, warm_start: WarmStartParams, train: TrainParams, seed: int, directory: Path
) -> dict[str, Any]:
    return {
        "model": {"path": str(model)},
        "data": {
            "train_files": [str(examples.file)],
            "train_batch_size": warm_start.batch_size,
            "max_length": examples.max_tokens,
            "max_token_len_per_gpu": max(train.micro_batch_tokens, examples.max_tokens),  # verl splits no sequence
        },
        "engine": {"seed": seed},
        "optim": {"lr": warm_start.learning_rate},
        "trainer": {
            "total_training_steps": warm_start.steps,
            "total_epochs": math.ceil(warm_start.steps / (examples.count // warm_start.batch_size)),
            "nnodes": 1,
            "n_gpus_per_node": train.gpus_per_node,
            "default_local_dir": str(directory),
        },
    }

"""verl's whole configuration for reinforcement learning: `configs/verl/dapo.yaml`, filled in from the parameters."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from memsifter.errors import MemSifterError
from memsifter.llm.runtime import cpu_kv_cache_bytes
from memsifter.params import ClusterParams, EngineParams
from memsifter.params.training import TrainParams
from memsifter.training.verl.algorithm import algorithm_values, loss_defaults
from memsifter.training.verl.attention import micro_batch_tokens, model_values, packs_sequences
from memsifter.training.verl.schema import check_keys, compose_own, compose_schema

REWARD_MODULE = "pkg://memsifter.reward.compute_score"
OVERRIDES = "train.overrides"
_MEBIBYTE = 1 << 20
_OBJECT_STORE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class TrainingInputs:
    """What a round trains on.

    Attributes:
        model: Hugging Face directory that training starts from.
        train_files: Parquet files of RL data.
        test_file: Parquet file of the test questions.
        prompt_tokens: the longest prompt.
        response_tokens: the longest response.
        reward_settings: what the reward function gets as its keyword argument `settings`.
        reward_module: where verl finds `compute_score`: `pkg://package.module` or a file.
        reward_weights: alpha and beta of the round.
        seed: of the order of the questions and of sampling.
    """

    model: Path
    train_files: tuple[Path, ...]
    test_file: Path
    prompt_tokens: int
    response_tokens: int
    reward_settings: str
    seed: int
    reward_module: str = REWARD_MODULE
    reward_weights: tuple[float, float] = (1.0, 1.0)


def compose_config(
    inputs: TrainingInputs, train: TrainParams, engine: EngineParams, cluster: ClusterParams
) -> DictConfig:
    """Compose and check verl's configuration.

    Args:
        inputs: model, data and reward.
        train: how to train.
        engine: vLLM's settings, for the rollout.
        cluster: which Ray.

    Returns:
        The tree that `verl.trainer.main_ppo` runs with, all references resolved; `run_training` adds its folders.

    Raises:
        MemSifterError: `train.overrides` holds a key that verl does not know or does not read, one that a parameter
            sets, or a broken override; or sizes do not fit each other.
    """
    if train.overlong_tokens > inputs.response_tokens:
        raise MemSifterError(
            f"train.overlong_tokens is {train.overlong_tokens}, but a response has at most {inputs.response_tokens} "
            "(rank.max_tokens)"
        )
    own = compose_own("dapo", [f"hardware={train.device}"])
    own.actor_rollout_ref.actor.merge_with(loss_defaults(train, inputs.response_tokens))
    values = OmegaConf.create(_values(inputs, train, engine, _ray_options(train, cluster, _storage_units(own))))
    own.merge_with(values)
    config = own.copy()
    for override in train.overrides:
        _apply(config, values, override)
    config.ray_kwargs.ray_init.merge_with(_ray_options(train, cluster, _storage_units(config)))
    check_keys(config, compose_schema("ppo_trainer"), own, OVERRIDES)
    try:
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise MemSifterError(f"{OVERRIDES}: {' '.join(str(error).split())}") from error
    if config.actor_rollout_ref.model.lora_rank:
        raise MemSifterError(
            f"{OVERRIDES}: actor_rollout_ref.model.lora_rank trains an adapter, which stage collect cannot make a "
            "model of; train all weights"
        )
    return config


def _apply(config: DictConfig, values: DictConfig, text: str) -> None:
    """Apply one of the user's overrides in place; whether verl knows the key is checked afterwards."""
    try:
        override = OverridesParser.create().parse_override(text)
        key, value = override.key_or_group, override.value()
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise MemSifterError(f"{OVERRIDES}: {text!r} is not an override as Hydra writes them ({reason})") from error
    if override.is_delete() or override.is_sweep_override():
        raise MemSifterError(f"{OVERRIDES}: {text!r}: only key=value and +key=value are supported")
    missing = object()
    if OmegaConf.select(values, key, default=missing, throw_on_missing=False) is not missing:
        raise MemSifterError(f"{OVERRIDES}: {key} is set from other parameters (train, rank, cluster); change those")
    OmegaConf.update(config, key, value, merge=True, force_add=True)


def _values(
    inputs: TrainingInputs, train: TrainParams, engine: EngineParams, ray_options: dict[str, Any]
) -> dict[str, Any]:
    return {
        "data": {
            "train_files": [str(path) for path in inputs.train_files],
            "val_files": [str(inputs.test_file)],
            "train_batch_size": train.batch_size,
            "max_prompt_length": inputs.prompt_tokens,
            "max_response_length": inputs.response_tokens,
            "seed": inputs.seed,
        },
        "algorithm": algorithm_values(train, inputs.reward_weights),
        "actor_rollout_ref": _actor_values(inputs, train, engine),
        "reward": {
            "num_workers": train.reward_workers,
            "custom_reward_function": {
                "path": inputs.reward_module,
                "name": "compute_score",
                "reward_kwargs": {"settings": inputs.reward_settings},
            },
            "reward_kwargs": {
                "max_resp_len": inputs.response_tokens,
                "overlong_buffer_cfg": {
                    "enable": train.overlong_tokens > 0,
                    "len": train.overlong_tokens,
                    "penalty_factor": train.overlong_penalty,
                    "log": False,
                },
            },
        },
        "trainer": _trainer_values(train, inputs.reward_weights[0]),
        "ray_kwargs": {"ray_init": ray_options},
    }


def _actor_values(inputs: TrainingInputs, train: TrainParams, engine: EngineParams) -> dict[str, Any]:
    total = inputs.prompt_tokens + inputs.response_tokens
    packs, on_cpu = packs_sequences(train), train.device == "cpu"
    # A CPU reads a prompt in one pass; a GPU in parts, and what a pass may hold is taken from the KV cache.
    one_pass = max(engine.max_num_batched_tokens, total) if on_cpu else engine.max_num_batched_tokens
    return {
        "model": {"path": str(inputs.model), **model_values(train)},
        "actor": {
            "checkpoint": {"save_contents": ["model", "optimizer", "extra"]},
            "ppo_mini_batch_size": train.mini_batch_size,
            "policy_loss": {"loss_mode": train.loss},
            "use_dynamic_bsz": packs,
            "ppo_micro_batch_size_per_gpu": None if packs else 1,
            "ppo_max_token_len_per_gpu": micro_batch_tokens(train, total),
            "data_loader_seed": inputs.seed,
            "optim": {"lr": train.learning_rate},
            "fsdp_config": {
                "seed": inputs.seed,
                "ulysses_sequence_parallel_size": train.ulysses,
                "param_offload": train.offload,
                "optimizer_offload": train.offload,
            },
        },
        "rollout": {
            "n": train.rollouts,
            "val_kwargs": {
                "n": train.test_responses,
                "temperature": train.test_temperature,
                "do_sample": train.test_temperature > 0,
            },
            "temperature": train.temperature,
            "seed": inputs.seed,
            "tensor_model_parallel_size": train.tensor_parallel_size,
            "gpu_memory_utilization": train.rollout_memory,
            "enforce_eager": engine.enforce_eager,
            "log_prob_micro_batch_size_per_gpu": None if packs else 1,
            "max_model_len": total,
            "max_num_batched_tokens": one_pass,
            "checkpoint_engine": {"update_weights_bucket_megabytes": _bucket_mebibytes(inputs.model)},
            **({"engine_kwargs": {"vllm": {"kv_cache_memory_bytes": cpu_kv_cache_bytes(engine)}}} if on_cpu else {}),
        },
    }


def _trainer_values(train: TrainParams, alpha: float) -> dict[str, Any]:
    return {
        # What `run_training` reads and resumes from.
        "logger": ["console", "file"],
        "use_v1": True,
        "val_only": False,
        "val_before_train": True,
        "resume_mode": "auto",
        "total_training_steps": train.steps,
        "save_freq": train.save_every,
        "test_freq": train.test_every,
        "nnodes": train.nnodes,
        "n_gpus_per_node": train.gpus_per_node,
        # Where `run_training` puts them in the run's own folder, whose name depends on all the rest.
        "default_local_dir": "checkpoints",
        "validation_data_dir": "generations",
        "rollout_data_dir": "rollouts",
        "v1": {
            "sampler": {
                "sampler_kwargs": {
                    "metric": "acc",
                    "batch_size": train.batch_size,
                    "max_replaced_groups": train.max_replaced_batches * train.batch_size,
                    "split_alpha": alpha if train.advantage == "gdpo" else None,
                }
            }
        },
    }


def _storage_units(config: DictConfig) -> int:
    return int(config.transfer_queue.backend.SimpleStorage.num_data_storage_units)


def _ray_options(train: TrainParams, cluster: ClusterParams, storage_units: int) -> dict[str, Any]:
    """Arguments of `ray.init`, for a run in which so many actors keep rollouts.

    A cluster has its own resources; a job finds its cluster by itself.
    """
    if cluster.job_server or cluster.remote:
        return {"address": "auto" if cluster.job_server else cluster.address}
    # Logical resources: Ray waits for ever for what it was not given, and verl's many small actors share the cores.
    needed = 3 + storage_units + 4 * train.gpus_per_node + train.reward_workers
    options: dict[str, Any] = {
        "address": "local",
        "num_cpus": max(needed, cluster.num_cpus or os.cpu_count() or 1),
        "num_gpus": train.gpus_per_node if train.device == "cpu" else cluster.num_gpus,
        "include_dashboard": False,
    }
    if train.device == "cpu":
        options["object_store_memory"] = _OBJECT_STORE_BYTES  # what rollouts need, not a third of the machine
    return options


def _bucket_mebibytes(model: Path) -> int:
    """The buffer in which weights travel to the rollout must hold the largest tensor, in float32."""
    from memsifter.models.weights import read_weights  # imports torch, which takes seconds

    largest = max(tensor.elements for tensor in read_weights(model).values())
    return max(64, math.ceil(4 * largest / _MEBIBYTE) + 1)

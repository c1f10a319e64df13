"""One hash for everything that decides what a training run gives, so that only an equal run is resumed."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from memsifter.io.files import sha256_file, sha256_json
from memsifter.io.paths import ROOT
from memsifter.models.references import fingerprint_model
from memsifter.training.verl.config import TrainingInputs

# The code that pays a response and the code that runs inside verl. The rest of verl's behaviour is its version.
# `deps` of the train stage in dvc.yaml are these, and what carries them out.
_CODE = (
    "configs/verl",
    "memsifter/chat/context.py",
    "memsifter/chat/prompt.py",
    "memsifter/chat/judge.py",
    "memsifter/chat/prompt.py",
    "memsifter/chat/endpoint.py",
    "memsifter/chat/context.py",
    "memsifter/metrics/answers.py",
    "memsifter/metrics/retrieval.py",
    "memsifter/metrics/text.py",
    "memsifter/llm/prompts.py",
    "memsifter/ranking/parse.py",
    "memsifter/ranking/prompt.py",
    "memsifter/reward",
    "memsifter/corpus/words.py",
    "memsifter/training/verl/cpu_platform",
    "memsifter/checkpoints/fsdp.py",
    "memsifter/training/verl/sft.py",
    "memsifter/training/verl/sampler.py",
    "memsifter/training/verl/sft.py",
    "memsifter/training/verl/sft_dataset.py",
    "memsifter/training/warm_start.py",
)
_LIBRARIES = ("verl", "torch", "transformers", "tensordict", "vllm")
# Where things are and how many of them run; the model and the data are hashed by content.
_PLACES = (
    "data.train_files",
    "data.val_files",
    "ray_kwargs",
    "reward.custom_reward_function.path",
    "reward.custom_reward_function.reward_kwargs",
    "reward.num_workers",
)


def fingerprint_training(config: DictConfig, inputs: TrainingInputs, reward: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a training run.

    Args:
        config: From `compose_config`.
        inputs: The model and the data, hashed by content.
        reward: What decides the reward beside code and data: parameters, prompts, the working LLM's fingerprint. The
            settings that verl gets are not used: they may name a port that is another one each time.
    """
    plain = config.copy()
    for key in _PLACES:
        OmegaConf.update(plain, key, None)
    values: Any = OmegaConf.to_container(plain)
    code = {path.relative_to(ROOT).as_posix(): sha256_file(path) for path in _code_files()}
    return sha256_json(
        {
            # Other keys of verl refer to the model's path.
            "config": _replace(values, str(inputs.model), "model"),
            "model": fingerprint_model(inputs.model),
            "train": [sha256_file(path) for path in inputs.train_files],
            "test": sha256_file(inputs.test_file),
            "reward": dict(reward),
            "code": code,
            "libraries": {name: _version(name) for name in _LIBRARIES},
        }
    )


def _code_files() -> list[Path]:
    roots = [ROOT / name for name in _CODE]
    files = (path for root in roots for path in ([root] if root.is_file() else root.rglob("*")))
    return sorted(path for path in files if path.suffix in (".py", ".yaml"))


def _version(distribution: str) -> str:
    """Of vLLM's CPU build where that is what is installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{distribution}-cpu")


def _replace(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _replace(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace(inner, old, new) for inner in value]
    return new if value == old else value

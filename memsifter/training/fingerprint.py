"""One hash of everything that decides what a training run learns, so that only an equal run is resumed."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from memsifter.io.files import sha256_file, sha256_json
from memsifter.io.paths import ROOT
from memsifter.models.references import fingerprint_model
from memsifter.training.verl.config import TrainingInputs

# Code among the train stage's deps that starts and describes a run, or whose results are hashed by content. A change
# of it reruns the stage, but the run continues from its checkpoints.
_DOES_NOT_LEARN = (
    "configs/ray",
    "memsifter/models",
    "memsifter/training/fingerprint.py",
    "memsifter/training/jobs.py",
    "memsifter/training/launch.py",
    "memsifter/training/memory.py",
    "memsifter/training/plan.py",
    "memsifter/training/ray_command.py",
    "memsifter/training/report.py",
    "memsifter/training/round.py",
    "memsifter/training/run_directory.py",
    "memsifter/training/trainer.py",
    "stages/train.py",
)
_CODE_FOLDERS = ("configs/", "memsifter/", "stages/")
_CODE_SUFFIXES = (".py", ".yaml")
# verl's behaviour is its version, and that of what it computes with.
_LIBRARIES = ("verl", "torch", "transformers", "tensordict", "vllm")
# Where things are, how many of them run, and what memory they take; the model and the data are hashed by content.
_PLACES = (
    "actor_rollout_ref.actor.fsdp_config.optimizer_offload",
    "actor_rollout_ref.actor.fsdp_config.param_offload",
    "actor_rollout_ref.rollout.enforce_eager",
    "actor_rollout_ref.rollout.engine_kwargs.vllm.kv_cache_memory_bytes",
    "actor_rollout_ref.rollout.gpu_memory_utilization",
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
        config: from `compose_config`.
        inputs: the model and the data, hashed by content.
        reward: what decides the reward beside code and data: parameters, prompts, the working LLM's fingerprint. The
            settings that verl gets are not used: they may name a port, which differs each time.
    """
    plain = config.copy()
    for key in _PLACES:
        OmegaConf.update(plain, key, None)
    values: Any = OmegaConf.to_container(plain)
    return sha256_json(
        {
            # Other keys of verl refer to the model's path.
            "config": _replace(values, str(inputs.model), "model"),
            "model": fingerprint_model(inputs.model),
            "train": [sha256_file(path) for path in inputs.train_files],
            "test": sha256_file(inputs.test_file),
            "reward": dict(reward),
            "code": {name: sha256_file(ROOT / name) for name in code_files(ROOT)},
            "libraries": {name: _version(name) for name in _LIBRARIES},
        }
    )


def code_files(root: Path) -> list[str]:
    """The code and configuration that decide what a run learns: deps of the train stage, sorted, relative to `root`.

    Deps with a `${…}` in dvc.yaml are left out: prompts are part of the reward's settings, data and models are hashed
    by content.
    """
    deps: list[str] = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["train"]["do"]["deps"]
    files: set[Path] = set()
    for dep in deps:
        if dep.startswith(_CODE_FOLDERS) and "${" not in dep:
            files |= {root / dep} if (root / dep).is_file() else set((root / dep).rglob("*"))
    names = (path.relative_to(root).as_posix() for path in files if path.suffix in _CODE_SUFFIXES)
    return sorted(name for name in names if not _is_listed(name, _DOES_NOT_LEARN))


def _is_listed(name: str, listed: tuple[str, ...]) -> bool:
    return any(name == entry or name.startswith(f"{entry}/") for entry in listed)


def _version(distribution: str) -> str:
    """The version; of vLLM's CPU build where that is what is installed."""
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

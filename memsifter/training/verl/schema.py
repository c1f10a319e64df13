"""verl's configuration files: composing them with Hydra, writing them, and which of their keys verl reads.

verl itself silently ignores keys that it does not read, whether misspelt or moved in an earlier version.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT

CONFIGS = ROOT / "configs" / "verl"

# verl reads these although its schema does not list them. An empty dictionary stands for any keys.
_READ_BESIDE_SCHEMA: dict[str, Any] = {
    "ray_kwargs": {
        "ray_init": {
            "address": None,
            "num_gpus": None,
            "include_dashboard": None,
            "object_store_memory": None,
            "runtime_env": {"env_vars": {}},
        }
    },
    "reward": {
        "custom_reward_function": {"reward_kwargs": {}},
        "reward_kwargs": {
            "max_resp_len": None,
            "overlong_buffer_cfg": {"enable": None, "len": None, "penalty_factor": None, "log": None},
        },
    },
}

# In verl's schema, but not read by the trainer that runs here: what to set in their place.
_IGNORED = {
    "custom_reward_function": "reward.custom_reward_function",
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.num_workers": "train.reward_workers",
    "reward_model": "reward.reward_model",
    "sandbox_fusion": "reward.sandbox_fusion",
    "algorithm.filter_groups.max_num_gen_batches": "train.max_replaced_batches",
    "algorithm.filter_groups.max_inflight_gen_batches": "nothing: groups are replaced when all others are finished",
    "algorithm.rollout_correction.loss_type": "actor_rollout_ref.actor.policy_loss.loss_mode",
    "trainer.v1.sampler.sync_refill_failed_groups": "nothing: a question that fails stops the run",
    "trainer.balance_batch": "nothing: batches are balanced by tokens",
    "data.gen_batch_size": "nothing: groups are replaced one by one",
    "actor_rollout_ref.actor.ppo_micro_batch_size": "train.micro_batch_tokens",
    "trainer.max_actor_ckpt_to_keep": "train.keep_best",
    "trainer.max_critic_ckpt_to_keep": "nothing: DAPO has no critic",
    "trainer.total_epochs": "train.steps",
    "critic": "nothing: DAPO has no critic",
}


def find_verl_configs() -> Path:
    """The YAML files of verl, found without importing verl, which takes seconds and sets up logging.

    Raises:
        MemSifterError: verl is not installed.
    """
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise MemSifterError("verl is not installed; run make setup")
    return Path(spec.submodule_search_locations[0]) / "trainer" / "config"


def compose_schema(name: str) -> DictConfig:
    """A configuration as verl ships it: every key that its YAML lists, with verl's defaults."""
    return _compose(find_verl_configs(), name, ()).copy()


def compose_own(name: str, overrides: list[str]) -> DictConfig:
    """A file of `configs/verl/`, on top of what it takes from verl."""
    return _compose(CONFIGS, name, (f"hydra.searchpath=[file://{find_verl_configs()}]", *overrides)).copy()


def save_config(config: DictConfig, path: Path) -> None:
    """Write a configuration for one of verl's trainers."""
    saved = config.copy()
    # Hydra would otherwise write a folder of its own below the working directory.
    OmegaConf.update(saved, "hydra", {"run": {"dir": str(path.parent)}, "output_subdir": None}, force_add=True)
    OmegaConf.save(saved, path)


@functools.cache  # a second and more each
def _compose(directory: Path, name: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(config_dir=str(directory), version_base=None):
        config = compose(name, list(overrides))
    OmegaConf.set_struct(config, False)
    return config


def check_keys(config: DictConfig, schema: DictConfig, own: DictConfig, source: str) -> None:
    """Refuse what verl would ignore.

    Args:
        config: the composed configuration.
        schema: verl's own, `ppo_trainer` as verl ships it.
        own: the same without what the user added, to tell the user's settings from ours.
        source: what the user wrote it in, for messages.

    Raises:
        MemSifterError: names every key, with the key to use in its place where there is one.
    """
    plain, known = (OmegaConf.to_container(tree, resolve=False) for tree in (config, _complete(schema)))
    problems = [f"{key}: verl has no such key" for key in unknown_keys(plain, known)]
    before = _leaves(OmegaConf.to_container(own, resolve=False))
    for key, value in _leaves(plain).items():
        advice = _advice(key)
        if advice and key in before and before[key] != value:
            problems.append(f"{key}: verl ignores it; use {advice}")
    if problems:
        raise MemSifterError(f"{source}: {'; '.join(problems)}")


def unknown_keys(config: Any, schema: Any, path: str = "") -> Iterator[str]:
    """Dotted paths in `config` that `schema` does not have. An empty mapping in the schema takes any keys."""
    if not isinstance(config, Mapping) or not isinstance(schema, Mapping) or not schema:
        return
    for key, value in config.items():
        name = f"{path}.{key}" if path else str(key)
        if key in schema:
            yield from unknown_keys(value, schema[key], name)
        elif key not in _fields(schema.get("_target_")):
            yield name


def _complete(schema: DictConfig) -> DictConfig:
    complete = schema.copy()
    complete.merge_with(_READ_BESIDE_SCHEMA)
    return complete


def _fields(target: str | None) -> set[str]:
    """Fields of the dataclass that verl makes of a section; its YAML does not list them all."""
    if target is None:
        return set()
    # Imported here: it imports all of verl, and only an unlisted key needs it.
    from hydra.utils import get_class

    kind = get_class(target)
    return {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()


def _advice(key: str) -> str | None:
    parts = key.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_IGNORED[prefix] for prefix in prefixes if prefix in _IGNORED), None)


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= _leaves(inner, f"{path}.{key}" if path else str(key))
    return leaves

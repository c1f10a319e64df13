"""Composing verl's configuration files with Hydra, and writing them for its trainers."""

import functools
import importlib.util
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from memsifter.errors import MemSifterError
from memsifter.paths import ROOT

CONFIGS = ROOT / "configs" / "verl"


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

"""Reading `params.yaml`."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from memsifter.errors import MemSifterError
from memsifter.params.errors import describe_problems
from memsifter.params.tree import Params
from memsifter.paths import ROOT

PARAMS_FILE = ROOT / "params.yaml"


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate `params.yaml`.

    Raises:
        MemSifterError: the file is missing, not YAML, or any parameter is wrong; every problem is named in one line.
    """
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; write it with `make params`")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise MemSifterError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    return parse_params(values)


def parse_params(values: Any, source: str = PARAMS_FILE.name) -> Params:
    """Validate a tree of plain values.

    Raises:
        MemSifterError: naming every wrong key, what it holds and what is allowed.
    """
    try:
        return Params.model_validate(_lists_to_tuples(values))
    except ValidationError as error:
        raise MemSifterError(f"{source}: {describe_problems(error, Params)}") from error


def _lists_to_tuples(value: Any) -> Any:
    """YAML has lists only; strict validation into frozen models wants tuples."""
    if isinstance(value, list):
        return tuple(_lists_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    return value

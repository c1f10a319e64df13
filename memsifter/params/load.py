"""Reading `params.yaml`; what is wrong with it, in words: each problem names its key and what is allowed."""

import difflib
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params.data import DatasetParams
from memsifter.params.readers import reader_classes
from memsifter.params.tree import Params


def describe_problems(error: ValidationError, root: type[BaseModel]) -> str:
    """All problems of a failed validation of `root`, in one line."""
    return "; ".join(_describe(problem, root) for problem in error.errors())


def _describe(problem: Any, root: type[BaseModel]) -> str:
    # A discriminated union adds the chosen tag to the path: datasets.locomo.locomo.path -> datasets.locomo.path.
    location = [str(part) for part in problem["loc"]]
    if len(location) > 2 and location[0] == "datasets":
        del location[2]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        section: Any = root
        for part in problem["loc"][:-1]:
            section = _step_into(section, part)
        allowed = list(section.model_fields)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(allowed)}"
        return f"{key}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key or 'the file'}: {message}, got {problem['input']!r}"


def _step_into(kind: Any, part: Any) -> Any:
    """The type found at one step of an error's path: a field, an entry of a dictionary, or a tag of a union."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is dict:
        return _unwrap(get_args(kind)[1])
    if kind is DatasetParams:
        return reader_classes()[part]
    return _unwrap(kind.model_fields[part].annotation)


def _unwrap(kind: Any) -> Any:
    """`X | None` as X; other types as they are."""
    members = [member for member in get_args(kind) if member is not NoneType]
    return members[0] if get_origin(kind) in (Union, UnionType) and len(members) == 1 else kind


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

"""Reading `params.yaml`; what is wrong with it, in words: each problem names its key and what is allowed."""

import difflib
import io
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params.base import Section
from memsifter.params.data import DatasetParams
from memsifter.params.readers import reader_classes
from memsifter.params.tree import Params

PARAMS_FILE = ROOT / "params.yaml"
_DEEPEST = 30
_MOST_VALUES = 100_000
_MOST_PROBLEMS = 20
_MOST_CHARS = 10_000
_INTEGER_BITS = 63
_PART_CHARS = 40
_LISTS = (list, tuple, set, frozenset)  # YAML has tags for all of them
_UNION_MEMBER = re.compile(r"literal\[.*\]|constrained-\w+")
_SECRET = re.compile(
    r"://[^/\s?#]*@|[?&](?:api[_-]?key|key|(?:access[_-]?)?token|secret|password|sig(?:nature)?)=", re.IGNORECASE
)


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate `params.yaml`.

    Raises:
        MemSifterError: the file is missing, not YAML, or any parameter is wrong; every problem is named in one line.
    """
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; write it with `make params`")
    return parse_params(read_yaml(path))


def parse_params(values: Any, source: str = PARAMS_FILE.name) -> Params:
    """Validate a tree of plain values.

    Every parameter of a section must be there, even where it has a default: DVC sees a change only of what the file
    holds. Only the entries of `models`, `datasets` and `rounds`, and judges, may leave some out.

    Raises:
        MemSifterError: naming every wrong key, what it holds and what is allowed.
    """
    _raise(list(_huge_numbers(values)), source)  # pydantic would write them out, and fail at thousands of digits
    problems = [f"{key}: missing" for key in _missing(Params, values)]
    try:
        params = Params.model_validate(_lists_to_tuples(values))
    except ValidationError as error:
        problems += [problem for problem in describe_problems(error, Params) if problem not in problems]
    _raise(problems or list(_unfit_texts(values)), source)
    return params


def _raise(problems: Sequence[str], source: str) -> None:
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown = "; ".join(problems[:_MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        raise MemSifterError(f"{source}: {shown}")


def read_yaml(path: Path) -> Any:
    """Read a YAML file of settings, whose size and nesting are bounded.

    Raises:
        MemSifterError: the file cannot be read, is not UTF-8 or not YAML, names a key twice, or is nested or expands by
            aliases beyond what parameters need.
    """
    try:
        # A stream: of a text, YAML's errors would quote the line, and what secret it holds.
        loader = yaml.SafeLoader(io.StringIO(path.read_bytes().decode("utf-8")))
        node = loader.get_single_node()
        if node is None:
            return None
        size, depth = _measure(node, set(), {})
        if depth > _DEEPEST or size > _MOST_VALUES:
            raise MemSifterError(f"{path}: nested too deeply or too large ({size} values); these are not parameters")
        return loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise MemSifterError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise MemSifterError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise MemSifterError(f"{path}: nested too deeply; these are not parameters") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: a date or number that is none
        raise MemSifterError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error


def _measure(node: yaml.Node, parents: set[int], known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node stands for, aliases expanded, and how deep it is. Keys named twice are refused."""
    if id(node) in parents:
        raise yaml.YAMLError("an alias stands inside of what it refers to")
    if id(node) not in known:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [value for pair in node.value for value in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        measured = [_measure(child, parents | {id(node)}, known) for child in children]
        known[id(node)] = (1 + sum(size for size, _ in measured), 1 + max((depth for _, depth in measured), default=0))
    return known[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {_shown(key.value[:60])} stands twice in one section")
            seen.add(key.value)


def _missing(section: type[Section], values: Any, prefix: str = "") -> Iterator[str]:
    """Keys of the fixed sections that `values` does not hold."""
    if not isinstance(values, Mapping):
        return
    for name, field in section.model_fields.items():
        kind = field.annotation
        if name not in values:
            yield f"{prefix}{name}"
        elif isinstance(kind, type) and issubclass(kind, Section):
            yield from _missing(kind, values[name], f"{prefix}{name}.")


def _huge_numbers(values: Any) -> Iterator[str]:
    """Numbers that no parameter may be, and that cannot even be written out."""
    for place, value in _leaves(values):
        if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
            yield f"{_key(place) or 'the file'}: a number of so many digits"


def _unfit_texts(values: Any) -> Iterator[str]:
    """What no text may be, whatever its type allows: params.yaml, dvc.lock and MLflow hold every value."""
    for place, value in _leaves(values):
        if isinstance(value, str) and _SECRET.search(value):
            what = "an address with a password or key, which would be written to files"
            yield f"{_key(place)}: holds {what}; leave it out"
        elif isinstance(value, str) and len(value) > _MOST_CHARS:
            yield f"{_key(place)}: a text of {len(value)} characters; at most {_MOST_CHARS} are allowed"


def _leaves(value: Any, *place: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every single value of a tree with the keys that lead to it, and every key that is a number as a value, too."""
    if isinstance(value, (dict, *_LISTS)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, dict) and isinstance(key, int):
                yield (*place, "[key]"), key
            yield from _leaves(item, *place, key)
    else:
        yield place, value


def _key(place: Iterable[Any]) -> str:
    """A key's whole name in an error, its parts shortened, without what a terminal would obey."""
    parts = [_shown(part) if isinstance(part, int) or "://" in str(part) else str(part) for part in place]
    return ".".join(part if part.isprintable() and len(part) <= _PART_CHARS else reprlib.repr(part) for part in parts)


def _lists_to_tuples(value: Any) -> Any:
    """YAML has lists only; strict validation into frozen models wants tuples."""
    if isinstance(value, list):
        return tuple(_lists_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    return value


def describe_problems(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """The problems of a failed validation of `root`, a line each. Addresses and whole sections are not repeated."""
    return [_describe(problem, root) for problem in error.errors()]


def _describe(problem: Any, root: type[BaseModel]) -> str:
    # A discriminated union adds the chosen tag to the path: datasets.locomo.locomo.path -> datasets.locomo.path.
    # A union adds what it tried: retrieval.fit.l2.constrained-float -> retrieval.fit.l2.
    location = [part for part in map(str, problem["loc"]) if not _UNION_MEMBER.fullmatch(part)]
    if len(location) > 2 and location[0] == "datasets":
        del location[2]
    key = _key(location)
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
    if problem["type"] == "union_tag_invalid":
        tag = problem["input"].get(problem["ctx"]["discriminator"].strip("'"))
        return f"{key}: reader is {_shown(tag)}; allowed: {problem['ctx']['expected_tags']}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key or 'the file'}: {message}, got {_shown(problem['input'])}"


def _shown(value: Any) -> str:
    """A wrong value for an error message, shortened; what may hold a password is not shown."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, _LISTS):
        return "a list"
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        return "a number of so many digits"
    return "an address" if "://" in str(value) else reprlib.repr(value)


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

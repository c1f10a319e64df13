"""From a reader's name or a dataset's parameters to a stream of records."""

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from memsifter.corpus.records import Issue, Record, require_valid
from memsifter.corpus.sessions import Haystack, Question, Split
from memsifter.datasets.catalogue import CATALOGUE
from memsifter.datasets.chatml import read_chatml
from memsifter.datasets.flat import read_flat
from memsifter.datasets.hotpotqa import read_hotpotqa
from memsifter.datasets.jsonl import read_jsonl
from memsifter.datasets.locomo import read_locomo
from memsifter.datasets.longmemeval import read_longmemeval
from memsifter.datasets.perltqa import read_perltqa
from memsifter.datasets.personamem import read_personamem
from memsifter.datasets.personamem_v2 import read_personamem_v2
from memsifter.datasets.sample import read_sample
from memsifter.datasets.source import resolve_source
from memsifter.datasets.splits import assign_haystacks, draw_questions
from memsifter.datasets.trajectory import read_trajectories
from memsifter.errors import MemSifterError
from memsifter.params import (
    AnyDatasetParams,
    ChatMlParams,
    FileDatasetParams,
    LocomoParams,
    LongMemEvalParams,
    PersonaMemV2Params,
    SampleParams,
    TrajectoryParams,
)

_SIMPLE: dict[str, Callable[[Path, Split], Iterator[Record]]] = {
    "flat": read_flat,
    "personamem": read_personamem,
    "perltqa": read_perltqa,
    "hotpotqa": read_hotpotqa,
    "jsonl": read_jsonl,
}
READERS = tuple(
    get_args(member.model_fields["reader"].annotation)[0] for member in get_args(get_args(AnyDatasetParams)[0])
)
_DEFAULTS: dict[str, dict[str, Any]] = {
    "sample": {"seed": 0, "haystacks": 6, "sessions": 30, "questions": 10, "train_fraction": 0.5},
    "locomo": {"categories": (1, 2, 3, 4)},
    "personamem_v2": {"history": "32k"},
}


def read_dataset(name_or_path: str | Path, **source_params: Any) -> Iterator[Haystack | Question | Issue]:
    """Read a dataset without `params.yaml`.

    Args:
        name_or_path: a reader (`READERS`), a benchmark of the catalogue, or the path of a file in the flat layout.
        source_params: the reader's parameters as in `params.yaml` (`memsifter.params`); a relative `path` is relative
            to the working directory. `sample` needs none; `locomo` keeps categories 1 to 4 unless told otherwise.

    Returns:
        Valid haystacks, each before its questions, and issues. Parameters are checked at once, rows as they are read.

    Raises:
        MemSifterError: unknown reader, wrong parameter, or a file that is missing or malformed.
    """
    params, name = parse_source(name_or_path, **source_params)
    return require_valid(read(params, name))


def parse_source(name_or_path: str | Path, **source_params: Any) -> tuple[AnyDatasetParams, str]:
    """The parameters of what `read_dataset` is given, and the dataset's name.

    Raises:
        MemSifterError: unknown reader, or a wrong parameter.
    """
    name = str(name_or_path)
    reader = name
    if name in CATALOGUE and (name not in READERS or "path" not in source_params):
        reader = next(iter(CATALOGUE[name].sources))
    elif name not in READERS:
        if not Path(name).exists():
            known = dict.fromkeys((*READERS, *CATALOGUE))
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"readers: {', '.join(READERS)}"
            raise MemSifterError(f"{name!r} is neither a reader nor a file; {hint}")
        source_params = {"path": name, **source_params}
        reader = "flat"
    reader = source_params.pop("reader", reader)
    values = {"reader": reader, **_DEFAULTS.get(reader, {}), **source_params}
    if values.get("path") is not None:
        values["path"] = str(Path(values["path"]).absolute())
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        params = TypeAdapter[AnyDatasetParams](AnyDatasetParams).validate_python(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'][1:])) or name}: {problem['msg']}" for problem in error.errors()
        )
        raise MemSifterError(f"dataset {name!r}: {problems}") from error
    if isinstance(params, FileDatasetParams) and name not in CATALOGUE and not (params.path or params.url):
        raise MemSifterError(f"dataset {name!r}: give a path, or a url with its sha256")
    return params, name


def read(params: AnyDatasetParams, dataset: str = "<name>") -> Iterator[Record]:
    """Read the dataset that `params` describe; what it yields is not validated yet.

    Questions of the haystacks in `params.train_haystacks` are put into the train split.

    Args:
        params: one entry of `datasets` in `params.yaml`.
        dataset: its key there, for the catalogue and for error messages.

    Raises:
        MemSifterError: the file cannot be had (at once); it is not in the reader's layout as a whole, or an id of
            `train_haystacks` does not exist (while iterating).
    """
    return assign_haystacks(_records(params, dataset), frozenset(params.train_haystacks), dataset)


def _records(params: AnyDatasetParams, dataset: str) -> Iterator[Record]:
    if isinstance(params, SampleParams):
        return read_sample(params)
    path = resolve_source(params, dataset)
    if isinstance(params, LocomoParams):
        return read_locomo(path, params.categories, params.split)
    if isinstance(params, LongMemEvalParams):
        records = read_longmemeval(path, params.split)
        fraction = params.train_fraction
        return records if fraction is None else draw_questions(records, fraction, params.split_seed)
    if isinstance(params, PersonaMemV2Params):
        return read_personamem_v2(path, params.history, params.split)
    if isinstance(params, TrajectoryParams):
        return read_trajectories(path, params.per_haystack, params.split)
    if isinstance(params, ChatMlParams):
        return read_chatml(path, params.session_gap_minutes, params.split)
    return _SIMPLE[params.reader](path, params.split)

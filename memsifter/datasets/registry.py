"""The readers by name, the benchmarks that they know, and the way from parameters to a stream of records."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from memsifter.corpus.chronology import in_time_order
from memsifter.corpus.records import Issue, Record, require_valid
from memsifter.corpus.sessions import Haystack, Question
from memsifter.datasets.chatml import ChatMlReader
from memsifter.datasets.flat import FlatReader
from memsifter.datasets.friendsqa import FriendsQaReader
from memsifter.datasets.hotpotqa import HotpotQaReader
from memsifter.datasets.io.download import SourceFile, download
from memsifter.datasets.jsonl import JsonlReader
from memsifter.datasets.locomo import LocomoReader
from memsifter.datasets.longmemeval import LongMemEvalReader
from memsifter.datasets.perltqa import PerLtqaReader
from memsifter.datasets.personamem import PersonaMemReader
from memsifter.datasets.personamem_v2 import PersonaMemV2Reader
from memsifter.datasets.qmsum import QmSumReader
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.datasets.sample.reader import SampleReader
from memsifter.datasets.trajectory import TrajectoryReader
from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_file
from memsifter.io.paths import ROOT, cache_directory
from memsifter.params.data import DatasetParams, FileDatasetParams
from memsifter.params.readers import AnyDatasetParams

_CLASSES: tuple[type[SampleReader | FileReader], ...] = (
    SampleReader,
    LocomoReader,
    LongMemEvalReader,
    FlatReader,
    PersonaMemReader,
    PersonaMemV2Reader,
    PerLtqaReader,
    FriendsQaReader,
    QmSumReader,
    HotpotQaReader,
    TrajectoryReader,
    JsonlReader,
    ChatMlReader,
)
READERS: Mapping[str, type[SampleReader | FileReader]] = {cls.model_fields["reader"].default: cls for cls in _CLASSES}
"""A new reader is one file, and one entry above."""


@dataclass(frozen=True)
class Listed:
    """A benchmark and its files by reader, the default reader first."""

    benchmark: Benchmark
    sources: Mapping[str, tuple[SourceFile, ...]]


def _catalogue() -> dict[str, Listed]:
    readers = {name: cls for name, cls in READERS.items() if issubclass(cls, FileReader)}
    catalogue = {}
    for name, cls in readers.items():
        for dataset, benchmark in cls.benchmarks.items():
            others = {other: each.other_files for other, each in readers.items()}
            sources = {other: files[dataset] for other, files in others.items() if dataset in files}
            catalogue[dataset] = Listed(benchmark, {name: benchmark.files} | sources)
    return catalogue


CATALOGUE: Mapping[str, Listed] = _catalogue()
"""The benchmarks by the name that `params.yaml` gives them."""


def read_dataset(name_or_path: str | Path, **source_params: Any) -> Iterator[Haystack | Question | Issue]:
    """Read a dataset without `params.yaml`.

    Args:
        name_or_path: a reader (`READERS`), a benchmark (`CATALOGUE`), or the path of a file in the flat layout; of
            another layout with `reader="…"`.
        source_params: the reader's parameters, fields of its class; a relative `path` is relative to the working
            directory.

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
    values = {"reader": reader, **source_params}
    if values.get("path") is not None:
        values["path"] = str(Path(values["path"]).absolute())
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        params = TypeAdapter[DatasetParams](AnyDatasetParams).validate_python(values)
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

    Sessions are in the order of their dates (`memsifter.corpus.chronology`), and questions of the haystacks in
    `params.train_haystacks` in the train split.

    Args:
        params: one entry of `datasets` in `params.yaml`.
        dataset: its key there, for the catalogue and for error messages.

    Raises:
        MemSifterError: the file is unavailable (at once); it is not in the reader's layout as a whole, or an id of
            `train_haystacks` does not exist (while iterating).
    """
    if isinstance(params, FileReader):
        records = params.read(resolve_source(params, dataset))
    elif isinstance(params, SampleReader):
        records = params.generate()
    else:
        raise TypeError(f"{type(params).__name__} is not a reader of files")
    return _assign_haystacks(in_time_order(records), frozenset(params.train_haystacks), dataset)


def resolve_source(params: FileDatasetParams, dataset: str) -> Path:
    """Return the local file or folder of a dataset, downloaded if need be.

    Args:
        params: `path` (absolute, or relative to the repository root), or `url` and its `sha256`, or neither: then the
            catalogue's files for this dataset and reader.
        dataset: key of the dataset in `params.yaml`.

    Raises:
        MemSifterError: no such file, a dataset that the catalogue does not have, a download that fails, or content
            that does not match `sha256`.
    """
    if params.path is not None:
        return _check_local(ROOT / params.path, params.sha256, dataset)
    directory = cache_directory("downloads") / dataset
    if params.url is not None:
        return download(SourceFile(params.url, params.sha256), directory, dataset)
    paths = [download(file, directory, dataset) for file in _catalogued(params.reader, dataset)]
    return paths[0] if len(paths) == 1 else directory


def _check_local(path: Path, sha256: str | None, dataset: str) -> Path:
    if not path.exists():
        raise MemSifterError(f"{path}: no such file; set datasets.{dataset}.path to a file that exists")
    if sha256 is not None:
        if path.is_dir():
            raise MemSifterError(f"datasets.{dataset}.sha256: {path} is a folder; leave sha256 out")
        if (found := sha256_file(path)) != sha256:
            raise MemSifterError(
                f"{path}: sha256 is {found}, expected {sha256}; the file is not the one that was meant"
            )
    return path


def _catalogued(reader: str, dataset: str) -> tuple[SourceFile, ...]:
    listed = CATALOGUE.get(dataset)
    if listed is None:
        raise MemSifterError(
            f"datasets.{dataset}: give a path, or a url with its sha256; these need neither: {', '.join(CATALOGUE)}"
        )
    if reader not in listed.sources:
        readers = " or ".join(listed.sources)
        raise MemSifterError(f"datasets.{dataset}.reader: {reader} does not read it; set {readers}, or give a path")
    if not listed.sources[reader]:
        raise MemSifterError(
            f"datasets.{dataset}: its files must be fetched by hand from {listed.benchmark.page}; "
            f"put them into data/raw/{dataset} and set datasets.{dataset}.path and .watch to that"
        )
    return listed.sources[reader]


def _assign_haystacks(records: Iterable[Record], train: frozenset[str], dataset: str) -> Iterator[Record]:
    """Put the questions of the haystacks `train` into the train split; all of them must exist."""
    missing = set(train)
    for record in records:
        if isinstance(record, Haystack):
            missing.discard(record.haystack_id)
        yield replace(record, split="train") if isinstance(record, Question) and record.haystack_id in train else record
    if missing:
        raise MemSifterError(
            f"datasets.{dataset}.train_haystacks: no haystack {', '.join(sorted(missing))}; "
            "name ids that the dataset has (haystacks.parquet lists them)"
        )

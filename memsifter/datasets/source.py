"""Turn what a dataset's parameters name, a path, a url or a benchmark of the catalogue, into local files."""

from pathlib import Path

from memsifter.datasets.catalogue import CATALOGUE, SourceFile
from memsifter.datasets.download import download
from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_file
from memsifter.io.paths import ROOT, cache_directory
from memsifter.params import FileDatasetParams


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
    files = _catalogued(params.reader, dataset)
    paths = [download(file, directory, dataset) for file in files]
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
    benchmark = CATALOGUE.get(dataset)
    if benchmark is None:
        raise MemSifterError(
            f"datasets.{dataset}: give a path, or a url with its sha256; these need neither: {', '.join(CATALOGUE)}"
        )
    if reader not in benchmark.sources:
        readers = " or ".join(benchmark.sources)
        raise MemSifterError(f"datasets.{dataset}.reader: {reader} does not read it; set {readers}, or give a path")
    if not benchmark.sources[reader]:
        raise MemSifterError(
            f"datasets.{dataset}: its files must be fetched by hand from {benchmark.page}; "
            f"put them into data/raw/{dataset} and set datasets.{dataset}.path and .watch to that"
        )
    return benchmark.sources[reader]

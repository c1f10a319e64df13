"""Atomic writes, Parquet with fixed settings, content hashes.

Every out of the pipeline is written through this module: a reader sees the whole file or none of it, and the same rows
always give the same bytes.
"""

import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT, cache_directory

_CHUNK_BYTES = 1 << 20
_SUFFIX = ".tmp"
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")  # as tempfile makes them
_REPLACED = ".replaced"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file of the same name; on success it replaces `path`, on any error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scratch_folder(path) as folder:
        temporary = folder / path.name
        temporary.touch()
        try:
            yield temporary
            temporary.chmod(0o644)  # outs are shared, whatever the umask
            temporary.replace(path)
        except OSError as error:
            error.filename = error.filename or str(path)  # a failed write does not say where
            raise


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory of the same name; on success it replaces `path`, on any error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scratch_folder(path) as folder:
        temporary = folder / path.name
        temporary.mkdir()
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.replace(folder / _REPLACED)  # a directory cannot be replaced in one step
        temporary.replace(path)


@contextmanager
def _scratch_folder(path: Path) -> Iterator[Path]:
    """A new folder from which a file or directory can be moved to `path` in one step.

    It lies outside the outs: a leftover of a killed process beside an out would be part of other stages' inputs. While
    it is in use it is locked, so that the next process can tell it from a leftover, which it removes.
    """
    _remove_leftovers(path.parent)
    parent = _scratch_parent(path.parent)
    _remove_leftovers(parent)
    parent.mkdir(parents=True, exist_ok=True)  # the cache may be deleted at any time
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{path.name}.", suffix=_SUFFIX))
        lock = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: leftovers stay there
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # else it was taken for a leftover before it was locked
            break
        os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@functools.cache
def _scratch_parent(target: Path) -> Path:
    """The repository's folder for temporary files, or `target` itself if nothing can be moved from there to it.

    That is so outside the repository, and where `target` is on another mount; .dvcignore keeps DVC from seeing
    temporary files there.
    """
    if not target.resolve().is_relative_to(ROOT):
        return target
    parent = cache_directory("tmp")
    probe = Path(tempfile.mkdtemp(dir=parent, prefix=".probe.", suffix=_SUFFIX))
    moved = target / probe.name
    try:
        probe.rename(moved)
    except OSError:
        probe.rmdir()
        return target
    moved.rmdir()
    return parent


@functools.cache  # once per process: what is left over was left by earlier ones
def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f".*{_SUFFIX}"):
        if not _LEFTOVER.fullmatch(path.name) or path.is_symlink():
            continue
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError:  # in use, or a file system without locks
            continue
        finally:
            os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `json_text` atomically."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Indented JSON; keys keep their order, NaN is refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MemSifterError: the file is missing or is not JSON.
    """
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; run the stage that writes it (dvc repro)")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MemSifterError(f"{path}: not valid JSON ({error})") from error


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open the project's one kind of Parquet file: zstd, explicit schema, no pandas metadata."""
    return pq.ParquetWriter(path, schema, compression="zstd")


def write_parquet(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows to a Parquet file atomically, in the order given."""
    write_table(path, pa.Table.from_pylist(rows, schema=schema))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table to a Parquet file atomically."""
    with atomic_file(path) as temporary, parquet_writer(temporary, table.schema) as writer:
        writer.write_table(table)


def read_parquet(
    path: Path, columns: Sequence[str] | pa.Schema | None = None, nullable: Collection[str] = ()
) -> pa.Table:
    """Read a Parquet file written by the pipeline.

    Args:
        path: the file.
        columns: those to read, by name or with the types that they must have; None for all.
        nullable: columns of the schema that may hold nulls.

    Raises:
        MemSifterError: the file is missing, broken, or lacks a column; with a schema also if a column has another type
            or holds nulls.
    """
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; run the stage that writes it (dvc repro)")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())
        raise MemSifterError(f"{path}: not a readable Parquet file ({reason})") from error
    names = columns.names if isinstance(columns, pa.Schema) else columns
    if missing := sorted(set(names or ()) - set(table.column_names)):
        raise MemSifterError(f"{path}: column(s) {', '.join(missing)} missing; found {', '.join(table.column_names)}")
    if isinstance(columns, pa.Schema):
        _check_columns(path, table, columns, nullable)
    return table.select(list(names)) if names else table


def _check_columns(path: Path, table: pa.Table, schema: pa.Schema, nullable: Collection[str]) -> None:
    for field in schema:
        column = table[field.name]
        if column.type != field.type:
            problem = f"holds {column.type} instead of {field.type}"
        elif column.null_count and field.name not in nullable:
            problem = "holds nulls"
        else:
            continue
        raise MemSifterError(
            f"{path}: column {field.name} {problem}; repeat the stage that writes the file (dvc repro)"
        )


def column_by(table: pa.Table, key: str, column: str) -> dict[str, Any]:
    """One column of a table as plain values by another, whose values must be unique."""
    return dict(zip(table[key].to_pylist(), table[column].to_pylist(), strict=True))


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON-serialisable value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    # A hash must not fail on text that the validation will refuse.
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()

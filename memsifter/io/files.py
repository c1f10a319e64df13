"""Atomic writes, Parquet with fixed settings, content hashes.

Every out of the pipeline is written through this module: a reader sees the whole file or none of it, and the same rows
always give the same bytes.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memsifter.errors import MemSifterError

_CHUNK_BYTES = 1 << 20


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private; outs are shared
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; on success it replaces `path` whole, on any error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        temporary.chmod(0o755)
        aside = temporary.with_suffix(".old")  # a directory cannot be replaced in one step
        if path.exists():
            path.replace(aside)
        temporary.replace(path)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; keys keep their order, NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file written by the pipeline.

    Raises:
        MemSifterError: the file is missing, broken, or lacks a column.
    """
    if not path.is_file():
        raise MemSifterError(f"{path}: no such file; run the stage that writes it (dvc repro)")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise MemSifterError(f"{path}: not a readable Parquet file ({error})") from error
    if missing := sorted(set(columns or ()) - set(table.column_names)):
        raise MemSifterError(f"{path}: column(s) {', '.join(missing)} missing; found {', '.join(table.column_names)}")
    return table.select(columns) if columns else table


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

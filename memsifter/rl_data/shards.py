"""The files of a round's RL data: shards of shuffled train rows, the test rows beside them, one version for all."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from memsifter.files import parquet_writer
from memsifter.rl_data.rows import ROW_SCHEMA, Row
from memsifter.rl_data.sampling import order_by_hash
from memsifter.sessions import Split

_VERSION_DIGITS = 16
_ROWS_PER_GROUP = 32  # long prompts: no more than these are held twice


def shuffle_rows(rows: Sequence[Row], seed: int) -> list[Row]:
    """Rows of all datasets in one seeded random order, whatever order they come in."""
    # JSON, since two plain names could join to the same text.
    named = {json.dumps([row["data_source"], row["extra_info"]["question_id"]]): row for row in rows}
    return [named[name] for name in order_by_hash(named, seed)]


def hash_rows(train: Sequence[Row], test: Sequence[Row]) -> str:
    """The version of the data: 16 hex digits of the SHA-256 of all rows in order, their version left out."""
    digest = hashlib.sha256()
    for split, rows in _groups(train, test):
        for row in _number_rows(rows, split, ""):
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()[:_VERSION_DIGITS]


def write_rows(
    directory: Path, train: Sequence[Row], test: Sequence[Row], shard_rows: int, version: str
) -> dict[str, int]:
    """Write `train_0.parquet`, `train_1.parquet`, … and `test.parquet` into an existing directory.

    Rows are numbered within their split in the order given.

    Returns:
        Rows by file name.
    """
    written = {}
    for split, rows in _groups(train, test):
        size = shard_rows if split == "train" else len(rows)
        for shard, start in enumerate(range(0, len(rows), size)):
            name = f"train_{shard}.parquet" if split == "train" else "test.parquet"
            part = rows[start : start + size]
            with parquet_writer(directory / name, ROW_SCHEMA) as writer:
                for first in range(0, len(part), _ROWS_PER_GROUP):
                    group = part[first : first + _ROWS_PER_GROUP]
                    numbered = list(_number_rows(group, split, version, start + first))
                    writer.write_table(pa.Table.from_pylist(numbered, schema=ROW_SCHEMA))
            written[name] = len(part)
    return written


def _groups(train: Sequence[Row], test: Sequence[Row]) -> tuple[tuple[Split, Sequence[Row]], ...]:
    return ("train", train), ("test", test)


def _number_rows(rows: Sequence[Row], split: Split, version: str, start: int = 0) -> Iterator[Row]:
    for index, row in enumerate(rows, start):
        yield {**row, "extra_info": {"index": index, "version": version, "split": split, **row["extra_info"]}}

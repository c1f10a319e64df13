"""Damage to the bytes of a file and to the columns of a table."""

import math
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa

BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda content, rng: content[: rng.randrange(len(content) + 1)],
    "cut at the start": lambda content, rng: content[rng.randrange(len(content) + 1) :],
    "nothing": lambda _, __: b"",
    "zeros": lambda content, _: bytes(len(content)),
    "a hole of zeros": lambda content, rng: _replace(content, rng, bytes),
    "bits flipped": lambda content, rng: _flip(content, rng),
    "noise inside": lambda content, rng: _replace(content, rng, rng.randbytes),
    "twice": lambda content, _: content * 2,
    "a tail of noise": lambda content, rng: content + rng.randbytes(50),
    "another kind of file": lambda _, __: b"<!doctype html><html><body>404</body></html>\n",
    "a git-lfs pointer": lambda _, __: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 269060552\n",
    "UTF-16": lambda content, _: content.decode("utf-8", "replace").encode("utf-16"),
    "latin-1": lambda content, _: "é".encode("latin-1") + content,
    "a byte order mark": lambda content, _: b"\xef\xbb\xbf" + content,
    "other line ends": lambda content, _: content.replace(b"\n", b"\r\n"),
}


def damage_bytes(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The content damaged in one of these ways, and its name."""
    name = rng.choice(sorted(BYTES))
    return name, BYTES[name](content, rng)


def _flip(content: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(rng.randint(1, 8) if content else 0):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _replace(content: bytes, rng: random.Random, fill: Callable[[int], bytes]) -> bytes:
    start = rng.randrange(len(content) + 1)
    length = min(rng.choice((1, 16, 300)), len(content) - start)
    return content[:start] + fill(length) + content[start + length :]


IN_PLACE = ("a hole of zeros", "bits flipped", "noise inside")
TABLES = (
    "a column removed",
    "a column of another type",
    "a column of nothing",
    "a row removed",
    "a row twice",
    "other ids",
)
NUMBERS = ("not a number", "infinity")


def damage_table(table: pa.Table, damage: str, rng: random.Random) -> pa.Table:
    """A table whose schema or rows are no longer what the stage wrote."""
    position = rng.randrange(table.num_columns)
    name = table.column_names[position]
    if damage == "a column removed":
        return table.drop_columns([name])
    if damage == "a column of another type":
        other = 0 if table.schema.field(name).type == pa.string() else "text"
        return table.set_column(position, name, pa.array([other] * len(table)))
    if damage == "a column of nothing":
        return table.set_column(position, name, pa.nulls(len(table), table.schema.field(name).type))
    if damage == "a row removed":
        return table.slice(1)
    if damage == "a row twice":
        return pa.concat_tables([table, table.slice(0, 1)])
    if damage == "other ids":
        return table.set_column(0, table.column_names[0], pa.array([f"other{row}" for row in range(len(table))]))
    number = math.nan if damage == "not a number" else math.inf
    return pa.Table.from_pylist([_with_number(row, number) for row in table.to_pylist()], schema=table.schema)


def _with_number(value: Any, number: float) -> Any:
    """The value with every float in it replaced."""
    if isinstance(value, float):
        return number
    if isinstance(value, dict):
        return {key: _with_number(item, number) for key, item in value.items()}
    return [_with_number(item, number) for item in value] if isinstance(value, list) else value

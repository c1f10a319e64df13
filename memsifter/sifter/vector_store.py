"""Embeddings in SQLite, by the hash of their text: in memory, in a file of their own, or beside a user's sessions."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memsifter.retrieval.embedding_tables import embedding_fields
from memsifter.sifter.sqlite_errors import sqlite_error

VECTORS_TABLE = """CREATE TABLE IF NOT EXISTS vectors(
    text_key BLOB PRIMARY KEY, vector BLOB NOT NULL, token_ids BLOB NOT NULL, token_weights BLOB NOT NULL,
    token_vectors BLOB)"""
VECTOR_COLUMNS = "vector, token_ids, token_weights, token_vectors"
_KEYS_PER_QUERY = 1000
_TYPES = {"token_ids": np.int32, "token_weights": np.float32, "token_vectors": np.float16}

Blobs = tuple[bytes, bytes, bytes, bytes | None]
"""One row of `VECTOR_COLUMNS`."""


class VectorStore:
    """Embeddings of one model, for several threads at once; the oldest go where there are too many."""

    def __init__(self, path: Path | None = None, limit: int = 200_000) -> None:
        """Open or make the store.

        Args:
            path: its file; None keeps it in memory. It holds no text.
            limit: the most embeddings that `trim` leaves.

        Raises:
            MemSifterError: the file is not such a store, is damaged or cannot be written; as from every method.
        """
        self._path, self._limit = path, limit
        self._lock = threading.Lock()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors_told():
            self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=60)
        with self._transaction() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(VECTORS_TABLE)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Blobs]:
        """The embeddings that are there, of these keys."""
        with self._transaction() as connection:
            rows = _select(connection, f"text_key, {VECTOR_COLUMNS}", dict.fromkeys(keys))
            return {key: (vector, *tokens) for key, vector, *tokens in rows}

    def append(self, rows: pa.Table) -> None:
        """Add rows of `memsifter.retrieval.vectors.part_schema`."""
        with self._transaction() as connection:
            insert_vectors(connection, rows)

    def trim(self) -> None:
        """Forget the oldest embeddings beyond the limit."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM vectors WHERE rowid <= (SELECT max(rowid) FROM vectors) - ?", (self._limit,)
            )

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors_told(), self._lock, self._connection:
            yield self._connection

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            file = self._path or "the vectors in memory"
            raise sqlite_error(file, error, "it is a cache that is damaged: delete it") from error


class SearchVectors:
    """A store as one search sees it (`memsifter.retrieval.embedder.Vectors`).

    What the search has found or added stays at hand for it, whatever other searches, also of other processes, trim from
    the store meanwhile.
    """

    def __init__(self, store: VectorStore) -> None:
        """Of this store; nothing is read yet."""
        self._store = store
        self._rows: dict[bytes, Blobs] = {}

    def missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of the keys are not there; bool [N]."""
        self._rows |= self._store.find(key for key in keys if key not in self._rows)
        return np.asarray([key not in self._rows for key in keys], dtype=np.bool_)

    def append(self, rows: pa.Table) -> None:
        """Add rows of `memsifter.retrieval.vectors.part_schema`."""
        self._store.append(rows)
        self._rows |= {key: blobs for key, *blobs in _to_blobs(rows)}

    def read(self, keys: Sequence[bytes]) -> pa.Table:
        """The embeddings of texts that were found or added, one row per key, with the columns of `embedding_fields`."""
        return embedding_table([self._rows[key] for key in keys])


def known_keys(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    """The keys that the table holds."""
    return {key for (key,) in _select(connection, "text_key", dict.fromkeys(keys))}


def insert_vectors(connection: sqlite3.Connection, rows: pa.Table) -> None:
    """Add rows of `part_schema`; what is there already stays."""
    connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?, ?)", _to_blobs(rows))


def _to_blobs(rows: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Rows of `part_schema` as rows of the table."""
    columns: list[list[Any]] = [[row.as_py() for row in rows["key"]]]
    for name, kind in (("vector", np.float32), *_TYPES.items()):
        if name in rows.column_names:
            lists = rows[name].combine_chunks()
            columns.append([np.asarray(row.values.to_numpy(zero_copy_only=False), kind).tobytes() for row in lists])
        else:
            columns.append([None] * len(rows))
    return zip(*columns, strict=True)


def embedding_table(rows: Sequence[Blobs]) -> pa.Table:
    """Rows of the table, at least one, as a table with the columns of `embedding_fields`."""
    vectors, *others = zip(*rows, strict=True)
    dimensions = len(vectors[0]) // np.dtype(np.float32).itemsize
    dense = np.frombuffer(b"".join(vectors), dtype=np.float32)
    columns = [pa.FixedSizeListArray.from_arrays(pa.array(dense), dimensions)]
    with_tokens = others[-1][0] is not None
    for blobs, kind in zip(others if with_tokens else others[:-1], _TYPES.values(), strict=False):
        lengths = [len(blob) // np.dtype(kind).itemsize for blob in blobs]
        values = pa.array(np.frombuffer(b"".join(blobs), dtype=kind))
        columns.append(pa.ListArray.from_arrays(pa.array(np.cumsum([0, *lengths]), pa.int32()), values))
    return pa.table(columns, schema=pa.schema(embedding_fields(dimensions, with_tokens)))


def _select(connection: sqlite3.Connection, columns: str, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
    listed = list(keys)
    for first in range(0, len(listed), _KEYS_PER_QUERY):
        part = listed[first : first + _KEYS_PER_QUERY]
        marks = ", ".join("?" * len(part))
        # The columns are constants of this module.
        yield from connection.execute(f"SELECT {columns} FROM vectors WHERE text_key IN ({marks})", part)  # noqa: S608

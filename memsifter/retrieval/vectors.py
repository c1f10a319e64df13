"""A content-addressed cache of text embeddings, in immutable part files.

It makes stage `embed` resumable; the out of the stage does not depend on it. An embedding is found by the hash of its
text, in a folder that is named for the model and its settings. Every flush adds one part under a name of its own, so
that any number of processes can add at once and nothing is ever rewritten.
"""

import logging
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_file
from memsifter.retrieval.embedding_tables import embedding_fields

logger = logging.getLogger(__name__)

KEY = pa.binary(32)
_SUFFIX = ".arrow"


def part_schema(dimensions: int, token_vectors: bool = False) -> pa.Schema:
    """Columns of a part: `key`, the hash of the text, and its embedding."""
    return pa.schema([("key", KEY), *embedding_fields(dimensions, token_vectors)])


class VectorCache:
    """The parts of one folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._parts: dict[Path, pa.Table | None] = {}  # what has been opened; None is a broken one

    def append(self, rows: pa.Table) -> None:
        """Add rows of `part_schema` as one new part."""
        path = self._directory / f"{uuid.uuid4().hex}{_SUFFIX}"
        with atomic_file(path) as temporary, pa.ipc.new_file(temporary, rows.schema) as writer:
            writer.write_table(rows)

    def missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of the keys are in no part; bool [N]."""
        return np.asarray(_find(self._load(), keys).is_null(), dtype=np.bool_)

    def read(self, keys: Sequence[bytes]) -> pa.Table:
        """The embeddings of texts, one row per key in the order given, with the columns of `embedding_fields`.

        Raises:
            MemSifterError: a key is not in the cache.
        """
        table = self._load()
        rows = _find(table, keys)
        if rows.null_count:
            raise MemSifterError(f"{self._directory}: {rows.null_count} of {len(keys)} vectors are missing; run again")
        return table.drop_columns("key").take(rows).combine_chunks()

    def _load(self) -> pa.Table:
        """All readable parts, memory-mapped. A part never changes, so that only new ones are opened."""
        paths = sorted(self._directory.glob(f"*{_SUFFIX}"))
        self._parts = {path: self._parts[path] if path in self._parts else _open_part(path) for path in paths}
        tables = [part for part in self._parts.values() if part is not None]
        return pa.concat_tables(tables) if tables else part_schema(1).empty_table()


def _open_part(path: Path) -> pa.Table | None:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError) as error:
        logger.warning("%s is broken (%s); its vectors are computed again. Delete it.", path, error)
        return None
    return table


def _find(table: pa.Table, keys: Sequence[bytes]) -> pa.Array:
    """The row of each key, null where there is none."""
    asked = pa.array(keys, KEY)
    # A hash table of the few that are asked for, through which the many go, is several times cheaper than the reverse.
    among = pc.indices_nonzero(pc.is_in(table["key"], value_set=asked).combine_chunks())
    return among.take(pc.index_in(asked, value_set=table["key"].take(among).combine_chunks()))

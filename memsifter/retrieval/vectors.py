"""A content-addressed cache of text embeddings, in immutable part files.

A vector is found by the hash of its text, in a folder that is named for the model and its settings. Every flush adds
one part under a name of its own, so that any number of processes can add at once and nothing is ever rewritten.
"""

import hashlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_file
from memsifter.retrieval.score_lists import select_groups

logger = logging.getLogger(__name__)

KEY = pa.binary(32)
_SUFFIX = ".arrow"
_TOKENS = "token_vectors"


@dataclass(frozen=True)
class TokenVectors:
    """Vectors of the tokens of N texts, for late interaction.

    Attributes:
        vectors: float32 [tokens of all texts, D], rows of length 1.
        offsets: int64 [N + 1]; text n owns the rows offsets[n] up to offsets[n + 1].
    """

    vectors: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @property
    def count(self) -> int:
        """The number of texts."""
        return len(self.offsets) - 1

    def rows(self, chosen: NDArray[np.int64]) -> "TokenVectors":
        """The tokens of some of the texts."""
        tokens, starts = select_groups(self.offsets, chosen)
        return TokenVectors(self.vectors[tokens], np.append(starts, len(tokens)))


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of N texts.

    Attributes:
        dense: float32 [N, D], rows of length 1.
        lexical: float32 [N, V], the model's own term weights by token id; no values when it has none.
        tokens: a vector per token; no vectors where none were asked for.
    """

    dense: NDArray[np.float32]
    lexical: sp.csr_matrix
    tokens: TokenVectors

    def rows(self, chosen: NDArray[np.int64]) -> "Embeddings":
        """The embeddings of some of the texts."""
        return Embeddings(self.dense[chosen], self.lexical[chosen], self.tokens.rows(chosen))


def part_schema(dimensions: int, has_tokens: bool = False) -> pa.Schema:
    """Columns of a part: key, dense vector, the model's term weights by token id (empty when it has none).

    With `has_tokens` also the vectors of the text's tokens, end to end, in half precision.
    """
    fields = [
        ("key", KEY),
        ("vector", pa.list_(pa.float32(), dimensions)),
        ("token_ids", pa.list_(pa.int32())),
        ("token_weights", pa.list_(pa.float32())),
    ]
    return pa.schema(fields + [(_TOKENS, pa.list_(pa.float16()))] * has_tokens)


def text_key(text: str) -> bytes:
    """SHA-256 of exactly what the model reads (for a question: with its instruction)."""
    return hashlib.sha256(text.encode()).digest()


class VectorCache:
    """The parts of one folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def append(self, rows: pa.Table) -> None:
        """Add rows of `part_schema` as one new part."""
        path = self._directory / f"{uuid.uuid4().hex}{_SUFFIX}"
        with atomic_file(path) as temporary, pa.ipc.new_file(temporary, rows.schema) as writer:
            writer.write_table(rows)

    def missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of the keys are in no part; bool [N]."""
        return np.asarray(_find(self._load(), keys).is_null(), dtype=np.bool_)

    def read(self, keys: Sequence[bytes]) -> Embeddings:
        """Look texts up.

        Raises:
            MemSifterError: a key is not in the cache.
        """
        table = self._load()
        rows = _find(table, keys)
        if rows.null_count:
            raise MemSifterError(f"{self._directory}: {rows.null_count} of {len(keys)} vectors are missing; run again")
        found = table.take(rows).combine_chunks()
        vectors, ids, weights = (found[name].chunk(0) for name in ("vector", "token_ids", "token_weights"))
        dense = vectors.flatten().to_numpy().reshape(len(keys), -1)
        columns = ids.flatten().to_numpy()
        offsets = np.append(0, np.cumsum(ids.value_lengths().to_numpy()))
        shape = (len(keys), int(columns.max(initial=-1)) + 1)
        lexical = sp.csr_matrix((weights.flatten().to_numpy(), columns, offsets), shape=shape)
        return Embeddings(dense, lexical, _read_tokens(found, dense.shape[1]))

    def _load(self) -> pa.Table:
        """All readable parts, memory-mapped."""
        parts = [_open_part(path) for path in sorted(self._directory.glob(f"*{_SUFFIX}"))]
        tables = [part for part in parts if part is not None]
        return pa.concat_tables(tables) if tables else part_schema(1).empty_table()


def _read_tokens(found: pa.Table, dimensions: int) -> TokenVectors:
    if _TOKENS not in found.column_names:
        return TokenVectors(np.empty((0, dimensions), np.float32), np.zeros(len(found) + 1, np.int64))
    column = found[_TOKENS].chunk(0)
    vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dimensions)
    return TokenVectors(vectors, np.append(0, np.cumsum(column.value_lengths().to_numpy())) // dimensions)


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
    return pc.index_in(pa.array(keys, KEY), value_set=table["key"].combine_chunks())

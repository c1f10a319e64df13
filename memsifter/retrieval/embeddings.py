"""The embeddings of a dataset in memory: those of its questions and of the units of the sessions they are asked of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, read_parquet
from memsifter.params import Unit
from memsifter.retrieval.embedding_tables import (
    QUESTION_FIELDS,
    QUESTIONS_FILE,
    SETTINGS_FILE,
    UNIT_FIELDS,
    UNITS_FILE,
    EmbeddingSettings,
    embedding_fields,
    text_key,
)
from memsifter.retrieval.score_lists import select_groups


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
        tokens: a vector per token; no vectors where `embed.token_vectors` is off.
    """

    dense: NDArray[np.float32]
    lexical: sp.csr_matrix
    tokens: TokenVectors

    @classmethod
    def from_table(cls, table: pa.Table, num_terms: int) -> "Embeddings":
        """Read a table with the columns of `embedding_fields`; `num_terms` is V, more than every token id."""
        table = table.combine_chunks()
        dimensions = table.schema.field("vector").type.list_size
        vectors, ids, weights = (_array(table, name) for name in ("vector", "token_ids", "token_weights"))
        offsets = np.append(0, np.cumsum(ids.value_lengths().to_numpy()))
        lexical = sp.csr_matrix(
            (weights.flatten().to_numpy(), ids.flatten().to_numpy(), offsets), shape=(len(table), num_terms)
        )
        dense = vectors.flatten().to_numpy().reshape(len(table), dimensions)
        return cls(dense, lexical, _read_token_vectors(table, dimensions))

    def rows(self, chosen: NDArray[np.int64]) -> "Embeddings":
        """The embeddings of some of the texts."""
        return Embeddings(self.dense[chosen], self.lexical[chosen], self.tokens.rows(chosen))


@dataclass(frozen=True)
class EmbeddedUnits:
    """Embeddings of one kind of unit, session after session in the order of `Dataset.session_keys`.

    A session that no question is asked of may have none.

    Attributes:
        embeddings: of the units.
        offsets: int64 [sessions + 1]; session s owns the rows offsets[s] up to offsets[s + 1].
    """

    embeddings: Embeddings
    offsets: NDArray[np.int64]

    @cached_property
    def means(self) -> NDArray[np.float32]:
        """The mean vector of each session's units, at length 1, of one without units 0; float32 [sessions, D]."""
        sums = np.zeros((len(self.offsets) - 1, self.embeddings.dense.shape[1]), dtype=np.float32)
        has_units = np.diff(self.offsets) > 0
        sums[has_units] = np.add.reduceat(self.embeddings.dense, self.offsets[:-1][has_units], axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        means: NDArray[np.float32] = sums / np.where(lengths > 0, lengths, 1)
        return means


@dataclass(frozen=True)
class EmbeddedDataset:
    """Embeddings of a dataset's questions, in its order, and of the units of its distinct sessions."""

    questions: Embeddings
    units: Mapping[Unit, EmbeddedUnits]


def load_embeddings(directory: Path, dataset: Dataset, kinds: tuple[Unit, ...], term_weights: bool) -> EmbeddedDataset:
    """Read the embeddings of a dataset.

    Args:
        directory: what `write_embeddings` wrote.
        dataset: the dataset, with the questions of all splits.
        kinds: the kinds of units that are needed.
        term_weights: whether an M3 model's own term weights are needed.

    Raises:
        MemSifterError: a file is missing or broken, a session or question of the dataset has no embedding there, or
            what is needed was not embedded.
    """
    settings = _read_settings(directory / SETTINGS_FILE)
    questions, units = (
        _read_table(directory / name, fields, settings.dimensions)
        for name, fields in ((QUESTIONS_FILE, QUESTION_FIELDS), (UNITS_FILE, UNIT_FIELDS))
    )
    return assemble_embeddings(settings, units, questions, dataset, kinds, term_weights, str(directory))


def assemble_embeddings(
    settings: EmbeddingSettings,
    units: pa.Table,
    questions: pa.Table,
    dataset: Dataset,
    kinds: tuple[Unit, ...],
    term_weights: bool,
    directory: str,
) -> EmbeddedDataset:
    """`load_embeddings` of tables that are in memory (`memsifter.retrieval.embedding_tables`)."""
    if missing := [kind for kind in kinds if kind not in settings.units]:
        raise MemSifterError(f"{directory}: no embeddings of each {missing[0]}; add it to embed.units and repeat embed")
    last_ids = [pc.max(_array(table, "token_ids").flatten()).as_py() for table in (questions, units)]
    if term_weights and None in last_ids:
        raise MemSifterError(f"{directory}: no term weights of an M3 model; repeat embed with one")
    num_terms = 1 + max(token or 0 for token in last_ids)
    return EmbeddedDataset(
        Embeddings.from_table(_select_questions(questions, dataset, settings, directory), num_terms),
        {kind: _select_units(units, kind, dataset, num_terms, directory) for kind in kinds},
    )


def _read_table(path: Path, fields: Sequence[pa.Field], dimensions: int) -> pa.Table:
    """The table in one chunk, its schema and vectors checked."""
    table = read_parquet(path).combine_chunks()
    for expected in (*fields, *embedding_fields(dimensions)):
        position = table.schema.get_field_index(expected.name)
        if position < 0 or table.schema.field(position).type != expected.type:
            raise MemSifterError(f"{path}: no column {expected.name} of type {expected.type}; repeat embed")
        if table[expected.name].null_count:
            raise MemSifterError(f"{path}: column {expected.name} holds nulls; repeat embed")
    if not np.isfinite(_array(table, "vector").flatten().to_numpy()).all():
        raise MemSifterError(f"{path}: a vector holds a number that is not finite; repeat embed")
    return table


def _read_settings(path: Path) -> EmbeddingSettings:
    try:
        return TypeAdapter(EmbeddingSettings).validate_python(read_json(path))
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise MemSifterError(f"{path}: not the settings of embeddings ({problem}); repeat embed") from error


def _select_questions(table: pa.Table, dataset: Dataset, settings: EmbeddingSettings, directory: str) -> pa.Table:
    """The rows of the dataset's questions, in its order."""
    texts = [text_key(settings.query_instruction + question.question) for question in dataset.questions]
    names = pa.array([question.question_id for question in dataset.questions], pa.string())
    rows = pc.index_in(names, value_set=_array(table, "question_id"))
    embedded = table["text_sha256"].take(rows).to_pylist()
    for question, text, other in zip(dataset.questions, texts, embedded, strict=True):
        if text != other:
            raise MemSifterError(
                f"{directory}: question {question.question_id!r} of the dataset has no embedding; repeat embed"
            )
    return table.take(rows)


def _select_units(table: pa.Table, kind: Unit, dataset: Dataset, num_terms: int, directory: str) -> EmbeddedUnits:
    """The rows of one kind of unit, in the order of the dataset's sessions."""
    rows = table.filter(pc.equal(table["unit"], kind)).combine_chunks()
    keys = pa.array(dataset.session_keys, pa.string())
    numbers = pc.index_in(_array(rows, "session_key"), value_set=keys)
    rows, numbers = rows.filter(numbers.is_valid()), numbers.drop_null().to_numpy()
    counts = np.bincount(numbers, minlength=len(keys))
    asked = pc.index_in(pa.array(dataset.asked_keys, pa.string()), value_set=keys).to_numpy()
    if not counts[asked].all():
        key = dataset.asked_keys[int(counts[asked].argmin())]
        raise MemSifterError(f"{directory}: session {key} of the dataset has no {kind} embeddings; repeat embed")
    if (np.diff(numbers) < 0).any():
        rows = rows.take(np.argsort(numbers, kind="stable"))
    return EmbeddedUnits(Embeddings.from_table(rows, num_terms), np.cumsum([0, *counts], dtype=np.int64))


def _read_token_vectors(table: pa.Table, dimensions: int) -> TokenVectors:
    if "token_vectors" not in table.column_names:
        return TokenVectors(np.empty((0, dimensions), np.float32), np.zeros(len(table) + 1, np.int64))
    column = _array(table, "token_vectors")
    vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dimensions)
    return TokenVectors(vectors, np.append(0, np.cumsum(column.value_lengths().to_numpy())) // dimensions)


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)

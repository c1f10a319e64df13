"""Embedding of a dataset through the vector cache: only what is missing is computed, on Ray."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.llm.tokens import load_tokenizer
from memsifter.llm.workers import read_blocks
from memsifter.params import ClusterParams, EmbedParams
from memsifter.retrieval.embedding_tables import QUESTION_FIELDS, UNIT_FIELDS, EmbeddingSettings, text_key
from memsifter.retrieval.encoder import Encoder, EncoderFiles, text_block
from memsifter.retrieval.units import unit_texts
from memsifter.retrieval.vectors import VectorCache

logger = logging.getLogger(__name__)

# One block is one call of the encoder and one part of the cache: large enough that sorting by length saves time and
# that the batch which the encoder tries out first costs little, small enough that an interrupt loses little.
_BATCHES_PER_BLOCK = 32
_MIN_BLOCK = 256


@dataclass(frozen=True)
class EmbeddingTables:
    """What stage `embed` writes (`memsifter.retrieval.embedding_tables`); `computed`: vectors that no cache held."""

    settings: EmbeddingSettings
    units: pa.Table
    questions: pa.Table
    computed: int


@dataclass(frozen=True)
class TextReader:
    """What is known of an embedder before it computes: how it reads texts, and which vectors it gives.

    Attributes:
        params: its settings.
        tokenizer: its own, a fast one.
        max_tokens: the most tokens that it reads.
        fingerprint: hex SHA-256 of all that a vector depends on beside the text.
    """

    params: EmbedParams
    tokenizer: Any
    max_tokens: int
    fingerprint: str


class Vectors(Protocol):
    """Where embeddings are kept by `text_key`."""

    def missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of the keys are not there; bool [N]."""

    def append(self, rows: pa.Table) -> None:
        """Add rows of `memsifter.retrieval.vectors.part_schema`."""

    def read(self, keys: Sequence[bytes]) -> pa.Table:
        """The embeddings, one row per key in the order given, with the columns of `embedding_fields`."""


UnitRow = tuple[str, str, int, int, str]
"""Session key, kind, first, end and text of a unit."""


def open_reader(files: EncoderFiles) -> TextReader:
    """Check an embedder's files against its settings, and load its tokenizer.

    Raises:
        MemSifterError: the model cannot serve these settings.
    """
    files.require_heads()
    tokenizer = load_tokenizer(files.directory)
    max_tokens = files.max_tokens(tokenizer)
    if files.params.chunk_tokens > max_tokens:
        raise MemSifterError(
            f"embed.chunk_tokens is {files.params.chunk_tokens}; {files.directory} reads at most {max_tokens} tokens"
        )
    return TextReader(files.params, tokenizer, max_tokens, files.fingerprint(max_tokens))


def embed_dataset(
    dataset: Dataset, model: Path, cache: Path, params: EmbedParams, cluster: ClusterParams
) -> EmbeddingTables:
    """Embed all questions and the units of the distinct sessions they are asked of on Ray, each distinct text once.

    Args:
        dataset: the dataset.
        model: the embedder's directory.
        cache: folder of the vector caches of all models.
        params: the model's settings, units and workers.
        cluster: where the workers run.

    Raises:
        MemSifterError: the model cannot serve these parameters, or this machine not these workers.
    """
    files = EncoderFiles(model, params)
    reader = open_reader(files)
    vectors = VectorCache(cache / reader.fingerprint)
    return embed_texts(
        dataset, reader, vectors, lambda texts: embed_missing(texts, vectors, files, reader.max_tokens, cluster)
    )


def embed_texts(
    dataset: Dataset, reader: TextReader, vectors: Vectors, compute: Callable[[Mapping[bytes, str]], int]
) -> EmbeddingTables:
    """The embeddings of a dataset's questions and units.

    Args:
        dataset: the dataset.
        reader: the embedder's.
        vectors: where the embeddings are found afterwards.
        compute: adds those of these texts, by `text_key`, that are missing in `vectors`; says how many.
    """
    unit_columns = list(zip(*list_units(dataset, dataset.asked_keys, reader), strict=True))
    computed = compute(question_texts(dataset, reader) | {text_key(text): text for text in unit_columns[-1]})
    questions = embed_questions(dataset, reader, vectors)
    units = join_embeddings(unit_columns[:-1], UNIT_FIELDS, vectors.read([text_key(text) for text in unit_columns[-1]]))
    return EmbeddingTables(
        embedding_settings(reader, units.schema.field("vector").type.list_size), units, questions, computed
    )


def question_texts(dataset: Dataset, reader: TextReader) -> dict[bytes, str]:
    """What is embedded of the questions, by `text_key`. Those that are too long for the model are warned of."""
    texts = [reader.params.query_instruction + question.question for question in dataset.questions]
    lengths = reader.tokenizer(texts, return_length=True, verbose=False)["length"]
    if too_long := sum(length > reader.max_tokens for length in lengths):
        logger.warning(
            "%d questions are longer than %d tokens; their dense score sees the beginning", too_long, reader.max_tokens
        )
    return {text_key(text): text for text in texts}


def embed_questions(dataset: Dataset, reader: TextReader, vectors: Vectors) -> pa.Table:
    """The table of the questions, whose embeddings `vectors` holds."""
    keys = [text_key(reader.params.query_instruction + question.question) for question in dataset.questions]
    columns: list[list[Any]] = [[question.question_id for question in dataset.questions], keys]
    return join_embeddings(columns, QUESTION_FIELDS, vectors.read(keys))


def list_units(dataset: Dataset, session_keys: Sequence[str], reader: TextReader) -> list[UnitRow]:
    """The units of these sessions of a dataset, one kind after the other, sessions in the order given."""
    return [
        (key, kind, *unit)
        for kind, sessions in unit_texts(dataset, session_keys, reader.tokenizer, reader.params).items()
        for key, session in zip(session_keys, sessions, strict=True)
        for unit in session
    ]


def embedding_settings(reader: TextReader, dimensions: int) -> EmbeddingSettings:
    """Where the reader's vectors, of so many dimensions, come from."""
    return EmbeddingSettings(
        fingerprint=reader.fingerprint,
        dimensions=dimensions,
        query_instruction=reader.params.query_instruction,
        units=reader.params.units,
        window_turns=reader.params.window_turns,
        chunk_tokens=reader.params.chunk_tokens,
        chunk_overlap=reader.params.chunk_overlap,
    )


def join_embeddings(columns: Sequence[Sequence[Any]], fields: Sequence[pa.Field], embeddings: pa.Table) -> pa.Table:
    """Columns of these fields (`UNIT_FIELDS` or `QUESTION_FIELDS`), and the embeddings beside them."""
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return pa.table([*arrays, *embeddings.columns], schema=pa.schema([*fields, *embeddings.schema]))


def embed_missing(
    texts: Mapping[bytes, str], cache: VectorCache, files: EncoderFiles, max_tokens: int, cluster: ClusterParams
) -> int:
    """Compute the vectors that the cache lacks; each finished block is saved at once. Ray starts only when needed.

    Args:
        texts: text by `text_key`.
        cache: where vectors are looked up and added.
        files: the embedder and its settings.
        max_tokens: the most tokens that the model reads.
        cluster: where the workers run.

    Returns:
        How many vectors were computed.

    Raises:
        MemSifterError: this machine cannot give the workers what they ask for.
    """
    params = files.params
    blocks = missing_blocks(texts, cache, params)
    total = sum(map(len, blocks))
    if not blocks:
        return 0
    logger.info("embedding %d texts in %d blocks", total, len(blocks))
    arguments = (str(files.directory.resolve()), params, max_tokens)
    results = read_blocks(blocks, Encoder, arguments, params, "embed.workers", cluster)
    with tqdm(total=total, desc="embed", unit="text", disable=None) as bar:
        for rows in results:
            cache.append(rows)
            bar.update(rows.num_rows)
    return total


def missing_blocks(texts: Mapping[bytes, str], vectors: Vectors, params: EmbedParams) -> list[pa.Table]:
    """What of the texts, by `text_key`, has no vector yet, in blocks for the encoder."""
    keys = list(texts)
    todo = [keys[row] for row in np.flatnonzero(vectors.missing(keys))]
    # Longest first: batches hold texts of like length, and the last blocks, which level the workers' load, are short.
    todo.sort(key=lambda key: (-len(texts[key]), key))
    size = max(_MIN_BLOCK, params.batch_size * _BATCHES_PER_BLOCK)
    return [text_block([texts[key] for key in todo[first : first + size]]) for first in range(0, len(todo), size)]

"""Embedding of a dataset through the vector cache: only what is missing is computed, on Ray."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.llm.runtime import require_resources, start_ray
from memsifter.llm.tokens import load_tokenizer
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


def embed_dataset(
    dataset: Dataset, model: Path, cache: Path, params: EmbedParams, cluster: ClusterParams
) -> EmbeddingTables:
    """Embed all questions and the units of all distinct sessions, each distinct text once.

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
    files.require_heads()
    tokenizer = load_tokenizer(files.directory)
    max_tokens = files.max_tokens(tokenizer)
    if params.chunk_tokens > max_tokens:
        raise MemSifterError(f"embed.chunk_tokens is {params.chunk_tokens}; {model} reads at most {max_tokens} tokens")
    questions = [params.query_instruction + question.question for question in dataset.questions]
    lengths = tokenizer(questions, return_length=True, verbose=False)["length"]
    if too_long := sum(length > max_tokens for length in lengths):
        logger.warning(
            "%d questions are longer than %d tokens; their dense score sees the beginning", too_long, max_tokens
        )
    units = [
        (key, kind, *unit)
        for kind, sessions in unit_texts(dataset, tokenizer, params).items()
        for key, session in zip(dataset.session_keys, sessions, strict=True)
        for unit in session
    ]
    unit_columns = list(zip(*units, strict=True))
    texts = {text_key(text): text for text in (*questions, *unit_columns[-1])}
    vectors = VectorCache(cache / files.fingerprint(max_tokens))
    computed = embed_missing(texts, vectors, files, max_tokens, cluster)
    question_keys = [text_key(text) for text in questions]
    question_columns: list[list[Any]] = [[question.question_id for question in dataset.questions], question_keys]
    embedded = vectors.read(question_keys)
    settings = EmbeddingSettings(
        fingerprint=files.fingerprint(max_tokens),
        dimensions=embedded.schema.field("vector").type.list_size,
        query_instruction=params.query_instruction,
        units=params.units,
        window_turns=params.window_turns,
        chunk_tokens=params.chunk_tokens,
        chunk_overlap=params.chunk_overlap,
    )
    return EmbeddingTables(
        settings,
        _join(unit_columns[:-1], UNIT_FIELDS, vectors.read([text_key(text) for text in unit_columns[-1]])),
        _join(question_columns, QUESTION_FIELDS, embedded),
        computed,
    )


def _join(columns: Sequence[Sequence[Any]], fields: Sequence[pa.Field], embeddings: pa.Table) -> pa.Table:
    """Columns of these fields, and the embeddings beside them."""
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
    keys = list(texts)
    todo = [keys[row] for row in np.flatnonzero(cache.missing(keys))]
    if not todo:
        return 0
    # Longest first: batches hold texts of like length, and the last blocks, which level the workers' load, are short.
    todo.sort(key=lambda key: (-len(texts[key]), key))
    size = max(_MIN_BLOCK, params.batch_size * _BATCHES_PER_BLOCK)
    blocks = [text_block([texts[key] for key in todo[first : first + size]]) for first in range(0, len(todo), size)]
    logger.info("embedding %d texts in %d blocks", len(todo), len(blocks))
    start_ray(cluster)
    import ray

    workers = min(params.workers, len(blocks))
    require_resources(cluster, "embed.workers", workers * params.cpus_per_worker, workers * params.gpus_per_worker)
    results = ray.data.from_arrow(blocks).map_batches(
        Encoder,
        fn_constructor_args=(str(files.directory.resolve()), params, max_tokens),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=params.cpus_per_worker,
        num_gpus=params.gpus_per_worker,
    )
    with tqdm(total=len(todo), desc="embed", unit="text", disable=None) as bar:
        for rows in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            cache.append(rows)
            bar.update(rows.num_rows)
    return len(todo)

"""Small datasets and scores with known weights behind them, for tests of retrieval and fusion."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.params import Bm25Params, FitParams, FusionWeights, LikelihoodParams, RetrievalParams
from memsifter.retrieval.catalogue import computed_scores
from memsifter.retrieval.embedding_tables import (
    QUESTION_FIELDS,
    UNIT_FIELDS,
    EmbeddingSettings,
    embedding_fields,
    text_key,
)
from memsifter.retrieval.score_lists import ScoreLists

RETRIEVAL = RetrievalParams(
    fusion="fitted",
    scores=("dense_chunk_max", "lexical_session", "length"),
    lexical="bm25",
    weights=FusionWeights(dense=0.5, lexical=1.0, date=1.0),
    bm25=Bm25Params(k1=1.2, b=0.75, window_turns=2),
    likelihood=LikelihoodParams(),
    fit=FitParams(datasets=("toy",), l2=1.0, folds=10, default_weights={"dense_chunk_max": 0.5}),
)


def make_session(name: str, date: str, *texts: str) -> Session:
    roles = ("user", "assistant")
    return Session(name, date, tuple(Turn(roles[number % 2], text) for number, text in enumerate(texts)))


def make_question(name: str, haystack: str, text: str, gold: tuple[str, ...] = (), split: str = "test") -> Question:
    return Question(name, "train" if split == "train" else "test", haystack, text, "2023/12/18 (Mon)", "", "", gold)


def random_scores(sizes: list[int], seed: int) -> ScoreLists:
    """Independent standard normal scores of all names that the parameters above ask for."""
    rng = np.random.default_rng(seed)
    offsets: NDArray[np.int64] = np.cumsum([0, *sizes], dtype=np.int64)
    columns: dict[str, NDArray[np.float32]] = {
        name: rng.normal(size=offsets[-1]).astype(np.float32) for name in computed_scores(RETRIEVAL)
    }
    return ScoreLists(tuple(f"q{number}" for number in range(len(sizes))), offsets, columns)


EMBEDDING_SETTINGS = EmbeddingSettings("f" * 64, 4, "ask: ", ("chunk",), 2, 16, 4)


def write_toy(directory: Path) -> Dataset:
    """One question over two sessions."""
    sessions = tuple(make_session(name, "", f"I am {name}", "Hello") for name in "ab")
    write_dataset([Haystack("h", sessions), make_question("q0", "h", "Who is a?")], directory)
    return load_dataset(directory)


def embed_toy(
    dataset: Dataset, question_terms: Sequence[int] = (), unit_terms: Sequence[int] = ()
) -> tuple[pa.Table, pa.Table]:
    """Vectors that no model made: two chunks a session; tables of units and questions as stage embed writes them."""
    keys = [key for key in dataset.session_keys for _ in range(2)]
    texts = [text_key(EMBEDDING_SETTINGS.query_instruction + question.question) for question in dataset.questions]
    units: list[list[Any]] = [keys, ["chunk"] * len(keys), [0, 3] * (len(keys) // 2), [4, 6] * (len(keys) // 2)]
    questions: list[list[Any]] = [[question.question_id for question in dataset.questions], texts]
    return _embedded(units, UNIT_FIELDS, unit_terms, 1), _embedded(questions, QUESTION_FIELDS, question_terms, 2)


def _embedded(columns: list[list[Any]], fields: Sequence[pa.Field], terms: Sequence[int], seed: int) -> pa.Table:
    rows = len(columns[0])
    vectors = np.random.default_rng(seed).normal(size=(rows, EMBEDDING_SETTINGS.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = [vectors.tolist(), [list(terms)] * rows, [[0.5] * len(terms)] * rows]
    schema = pa.schema([*fields, *embedding_fields(EMBEDDING_SETTINGS.dimensions)])
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns + embeddings, schema, strict=True)], schema
    )

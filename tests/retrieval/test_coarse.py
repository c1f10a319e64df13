from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from memsifter.files import read_parquet, write_parquet
from memsifter.params import Bm25Params, FusionWeights, RetrievalParams
from memsifter.records import Record
from memsifter.retrieval.coarse import EMBEDDINGS_SCHEMA, EmbeddedDataset, score_questions
from memsifter.retrieval.fusion import fuse
from memsifter.retrieval.vectors import Embeddings
from memsifter.sessions import Haystack, Question, Session, Turn
from memsifter.store import Dataset, load_dataset, write_dataset

WINDOWS = (3, 1, 2, 4)  # of the sessions puppy, oslo, violin, lake
BM25 = RetrievalParams(
    method="hybrid",
    lexical="bm25",
    weights=FusionWeights(dense=0.5, lexical=1.0, date=1.0),
    bm25=Bm25Params(k1=1.2, b=0.75, window_turns=4),
)


def make_session(name: str, date: str, text: str) -> Session:
    return Session(name, date, (Turn("user", text), Turn("assistant", "I see.")))


def make_question(name: str, haystack: str, text: str) -> Question:
    return Question(name, "test", haystack, text, "", "", "", ())


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    puppy = make_session("p", "8 May, 2023", "I adopted a beagle puppy")
    oslo = make_session("o", "9 June, 2023", "My flight to Oslo was late")
    violin = make_session("v", "1 July, 2023", "I practise the violin daily")
    lake = make_session("l", "2 July, 2023", "We swam in the lake")
    records: list[Record] = [
        Haystack("first", (puppy, oslo, violin)),
        Haystack("second", (lake, make_session("p2", "3 July, 2023", puppy.turns[0].content))),
        make_question("q1", "second", "Where did we swim?"),
        make_question("q2", "first", "Which breed is the beagle I got in May?"),
        make_question("q3", "first", "How was the flight?"),
    ]
    write_dataset(records, tmp_path / "dataset")
    return load_dataset(tmp_path / "dataset")


@pytest.fixture
def embedded() -> EmbeddedDataset:
    rng = np.random.default_rng(5)

    def make_embeddings(count: int) -> Embeddings:
        vectors = rng.normal(size=(count, 8)).astype(np.float32)
        weights = sp.random(count, 20, 0.4, "csr", np.float32, rng)
        return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), weights)

    return EmbeddedDataset(make_embeddings(3), make_embeddings(sum(WINDOWS)), np.cumsum([0, *WINDOWS], dtype=np.int64))


def best_windows(question: int, sessions: list[int], scores: np.ndarray) -> list[float]:
    """The slow way round: the best window of each session, one at a time."""
    offsets = np.cumsum([0, *WINDOWS])
    return [max(scores[question, offsets[s] : offsets[s + 1]]) for s in sessions]


def test_rows_follow_the_questions_and_scores_follow_the_haystack(dataset: Dataset, embedded: EmbeddedDataset) -> None:
    rows = score_questions(dataset, embedded, BM25)
    assert [row["question_id"] for row in rows] == ["q1", "q2", "q3"]
    assert [len(row["similarities"]) for row in rows] == [2, 3, 3]
    assert [int(np.argmax(row["lexical"])) for row in rows] == [0, 0, 1]
    assert [row["date"].tolist() for row in rows][::2] == [[0, 0], [0, 0, 0]]
    assert int(np.argmax(rows[1]["date"])) == 0


def test_dense_score_is_the_best_window(dataset: Dataset, embedded: EmbeddedDataset) -> None:
    cosines = embedded.questions.dense @ embedded.windows.dense.T
    for position, (row, sessions) in enumerate(
        zip(score_questions(dataset, embedded, BM25), ([3, 0], [0, 1, 2], [0, 1, 2]), strict=True)
    ):
        np.testing.assert_allclose(row["dense"], best_windows(position, sessions, cosines), rtol=1e-5)


def test_similarities_are_the_fused_parts(dataset: Dataset, embedded: EmbeddedDataset) -> None:
    for row in score_questions(dataset, embedded, BM25):
        dense, lexical, date = (row[name][None] for name in ("dense", "lexical", "date"))
        np.testing.assert_array_equal(row["similarities"], fuse(dense, lexical, date, "hybrid", BM25.weights)[0])


def test_m3_scores_by_the_models_own_term_weights(dataset: Dataset, embedded: EmbeddedDataset) -> None:
    shared = embedded.questions.lexical.toarray() @ embedded.windows.lexical.toarray().T
    rows = score_questions(dataset, embedded, BM25.model_copy(update={"lexical": "m3", "method": "lexical"}))
    np.testing.assert_allclose(rows[0]["lexical"], best_windows(0, [3, 0], shared), rtol=1e-5)
    np.testing.assert_array_equal(rows[0]["similarities"], rows[0]["lexical"])


def test_rows_are_written_and_read_back(dataset: Dataset, embedded: EmbeddedDataset, tmp_path: Path) -> None:
    rows = score_questions(dataset, embedded, BM25)
    write_parquet(tmp_path / "scores.parquet", rows, EMBEDDINGS_SCHEMA)
    table = read_parquet(tmp_path / "scores.parquet")
    assert table.schema == EMBEDDINGS_SCHEMA
    assert table["similarities"].to_pylist() == [row["similarities"].tolist() for row in rows]

"""What stage embed writes and stage score reads back."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scored_datasets import EMBEDDING_SETTINGS, embed_toy, make_question, make_session, write_toy

from memsifter.corpus.sessions import Haystack
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.retrieval.embedding_tables import write_embeddings
from memsifter.retrieval.embeddings import load_embeddings


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_toy(tmp_path / "data")


def write(directory: Path, dataset: Dataset, **settings: Any) -> tuple[pa.Table, pa.Table]:
    units, questions = embed_toy(dataset)
    write_embeddings(directory, replace(EMBEDDING_SETTINGS, **settings), units, questions)
    return units, questions


def test_embeddings_are_read_back_in_the_order_of_the_dataset(tmp_path: Path, dataset: Dataset) -> None:
    units, questions = write(tmp_path / "e", dataset)
    found = load_embeddings(tmp_path / "e", dataset, ("chunk",), term_weights=False)
    assert found.questions.dense.tolist() == questions["vector"].to_pylist()
    assert found.units["chunk"].embeddings.dense.tolist() == units["vector"].to_pylist()
    assert found.units["chunk"].offsets.tolist() == list(range(0, 2 * len(dataset.session_keys) + 1, 2))
    # The rows of another order, and those of sessions that the dataset no longer has, make no difference.
    write_embeddings(tmp_path / "t", EMBEDDING_SETTINGS, units.take(np.arange(len(units))[::-1]), questions)
    turned = load_embeddings(tmp_path / "t", dataset, ("chunk",), term_weights=False)
    np.testing.assert_array_equal(
        turned.units["chunk"].embeddings.dense[0], found.units["chunk"].embeddings.dense[1], "second of its session"
    )


def test_the_same_embeddings_are_the_same_bytes(tmp_path: Path, dataset: Dataset) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, dataset)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["embeddings.json", "questions.parquet", "units.parquet"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    settings = json.loads((tmp_path / "a" / "embeddings.json").read_text())
    assert settings["fingerprint"] == EMBEDDING_SETTINGS.fingerprint
    assert pq.read_schema(tmp_path / "a" / "units.parquet").field("vector").type == pa.list_(pa.float32(), 4)


def test_term_ids_of_questions_and_units_share_their_columns(tmp_path: Path, dataset: Dataset) -> None:
    units, questions = embed_toy(dataset, question_terms=[9], unit_terms=[2, 5])
    write_embeddings(tmp_path / "e", EMBEDDING_SETTINGS, units, questions)
    found = load_embeddings(tmp_path / "e", dataset, ("chunk",), term_weights=True)
    assert found.questions.lexical.shape[1] == found.units["chunk"].embeddings.lexical.shape[1] == 10


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("a session more", r"session [0-9a-f]{64} of the dataset has no chunk embeddings; repeat embed"),
        ("a question more", "question 'q9' of the dataset has no embedding; repeat embed"),
        ("another text", "question 'q0' of the dataset has no embedding; repeat embed"),
    ],
)
def test_embeddings_of_another_dataset_are_refused(
    tmp_path: Path, dataset: Dataset, change: str, expected: str
) -> None:
    write(tmp_path / "e", dataset)
    sessions = [make_session(name, "", f"I am {name}", "Hello") for name in "ab"]
    if change == "a session more":
        sessions.append(make_session("z", "", "I am new"))
    questions = [make_question("q0", "h", "another" if change == "another text" else "Who is a?")]
    if change == "a question more":
        questions.append(make_question("q9", "h", "Who is new?"))
    write_dataset([Haystack("h", tuple(sessions)), *questions], tmp_path / "other")
    with pytest.raises(MemSifterError, match=expected):
        load_embeddings(tmp_path / "e", load_dataset(tmp_path / "other"), ("chunk",), term_weights=False)


def test_what_was_not_embedded_is_named(tmp_path: Path, dataset: Dataset) -> None:
    write(tmp_path / "e", dataset)
    with pytest.raises(MemSifterError, match=re.escape("no embeddings of each turn; add it to embed.units and repeat")):
        load_embeddings(tmp_path / "e", dataset, ("chunk", "turn"), term_weights=False)
    with pytest.raises(MemSifterError, match="no term weights of an M3 model"):
        load_embeddings(tmp_path / "e", dataset, ("chunk",), term_weights=True)


@pytest.mark.parametrize("damage", ["not a number", "missing file", "missing column", "other dimension", "settings"])
def test_damaged_embeddings_are_one_error(tmp_path: Path, dataset: Dataset, damage: str) -> None:
    units, questions = write(tmp_path / "e", dataset)
    path, expected = tmp_path / "e" / "units.parquet", "units.parquet: "
    if damage == "missing file":
        path.unlink()
    elif damage == "missing column":
        pq.write_table(units.drop_columns("vector"), path)
    elif damage == "other dimension":
        write_embeddings(tmp_path / "e", replace(EMBEDDING_SETTINGS, dimensions=5), units, questions)
        expected = r"questions.parquet: no column vector of type fixed_size_list<item: float>\[5\]"
    elif damage == "settings":
        (tmp_path / "e" / "embeddings.json").write_text('{"model": "x"}')
        expected = "embeddings.json: not the settings of embeddings"
    else:
        values = np.full(4 * len(units), np.nan, dtype=np.float32)
        broken = pa.FixedSizeListArray.from_arrays(pa.array(values), 4)
        pq.write_table(units.set_column(units.schema.get_field_index("vector"), units.field("vector"), broken), path)
        expected = "units.parquet: a vector holds a number that is not finite"
    with pytest.raises(MemSifterError, match=expected):
        load_embeddings(tmp_path / "e", dataset, ("chunk",), term_weights=False)

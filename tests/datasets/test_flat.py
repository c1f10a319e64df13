import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flat_files import stored_records, write_flat
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.corpus.records import Issue, Record, require_valid
from memsifter.corpus.sessions import SPLITS, Haystack, Question, Session, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.datasets.flat import FlatReader
from memsifter.datasets.longmemeval import LongMemEvalReader
from memsifter.errors import MemSifterError

SESSIONS = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "3.50"}]]
MINIMAL: dict[str, Any] = {
    "question": "How much?",
    "answer": "3.50",
    "haystack_session_ids": ["a", "b"],
    "haystack_sessions": SESSIONS,
    "answer_session_ids": ["b"],
}
FORMATS = ("parquet", "jsonl", "json")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def read(path: Path) -> list[Record]:
    return list(require_valid(FlatReader().read(path)))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("sessions", [SESSIONS, json.dumps(SESSIONS)], ids=["nested", "json"])
def test_every_format_reads_the_same(suffix: str, sessions: Any, tmp_path: Path) -> None:
    rows = [
        {**MINIMAL, "haystack_sessions": sessions, "question_id": "q", "split": "train", "category": "price"},
        {**MINIMAL, "haystack_sessions": sessions, "question_id": "r", "split": None, "category": "price"},
    ]
    haystack, first, second = read(write_rows(tmp_path / f"data.{suffix}", rows))
    assert isinstance(haystack, Haystack)
    turns = [[(turn.role, turn.content) for turn in session.turns] for session in haystack.sessions]
    assert turns == [[("user", "Hi")], [("user", "3.50")]]
    name = haystack.haystack_id
    assert first == Question("q", "train", name, "How much?", "", "3.50", "price", ("b",))
    assert second == Question("r", "test", name, "How much?", "", "3.50", "price", ("b",))


def test_absent_fields_are_filled_and_a_missing_id_is_reported(tmp_path: Path) -> None:
    records = read(write_rows(tmp_path / "data.jsonl", [MINIMAL, MINIMAL]))
    questions = [record for record in records if isinstance(record, Question)]
    assert [question.question_id for question in questions] == ["q1", "q2"]
    assert {(question.split, question.category, question.question_date) for question in questions} == {
        ("test", "uncategorised", "")
    }
    assert [record.detail for record in records if isinstance(record, Issue)] == [
        "row 1: no question_id; now 'q1'",
        "row 2: no question_id; now 'q2'",
    ]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("test.jsonl",), ["q1", "q2"]),
        (("train.jsonl", "test.parquet"), ["train-q1", "train-q2", "test-q1", "test-q2"]),
        (("test.0.jsonl", "test.1.jsonl"), ["test.0-q1", "test.0-q2", "test.1-q1", "test.1-q2"]),
    ],
)
def test_the_files_of_a_folder_do_not_share_generated_ids(
    names: tuple[str, ...], ids: list[str], tmp_path: Path
) -> None:
    for name in names:
        write_rows(tmp_path / name, [MINIMAL, MINIMAL])
    questions = [record for record in read(tmp_path) if isinstance(record, Question)]
    assert [question.question_id for question in questions] == ids
    assert [question.split for question in questions] == [name.split(".")[0] for name in names for _ in range(2)]


def test_question_type_is_a_category(tmp_path: Path) -> None:
    records = read(write_rows(tmp_path / "data.jsonl", [{**MINIMAL, "question_type": "temporal"}]))
    assert [record.category for record in records if isinstance(record, Question)] == ["temporal"]


def test_the_format_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data.parquet", [MINIMAL]).rename(tmp_path / ("0" * 64))
    assert len(read(path)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": None}, "line 1: field 'answer': expected a string, got null"),
        ({"question": 3}, "line 1: field 'question': expected a string, got a whole number"),
        ({"haystack_sessions": "[[{"}, r"field 'haystack_sessions': not valid JSON \(.* at character 3\)"),
        ({"haystack_sessions": [SESSIONS[0]]}, "2 session ids, 2 dates and 1 sessions"),
        ({"haystack_sessions": [[], ["Hi"]]}, r"'haystack_sessions'\[1\]\[0\]: expected an object, got a string"),
        ({"answer_session_ids": None}, "line 1: field 'answer_session_ids' is missing"),
        ({"split": "dev"}, "line 1: field 'split' is 'dev', allowed: train, test"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=message):
        read(write_rows(tmp_path / "data.jsonl", [{**MINIMAL, **changes}]))


def test_one_haystack_id_for_different_sessions_is_refused(tmp_path: Path) -> None:
    rows = [{**MINIMAL, "haystack_id": "h"}, {**MINIMAL, "haystack_id": "h", "haystack_session_ids": ["b", "c"]}]
    with pytest.raises(MemSifterError, match="line 2: haystack_id 'h' had other sessions in an earlier row"):
        read(write_rows(tmp_path / "data.jsonl", rows))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PAR1 cut off", "not a readable Parquet file .*copy or download it again"),
        (b"question,answer\n", "neither Parquet nor JSON; the file starts with b'q'"),
    ],
)
def test_another_kind_of_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(MemSifterError, match=message):
        read(tmp_path / "data")


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data.parquet", [MINIMAL] * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MemSifterError, match=r"data\.parquet: after 0 rows: not a readable Parquet file"):
        read(path)


def processed(records: list[Record], directory: Path) -> Dataset:
    write_dataset(records, directory)
    return load_dataset(directory)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_real_questions_survive_flat_and_back(suffix: str, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "longmemeval" / "longmemeval_s_9q.json"
    dataset = processed(list(LongMemEvalReader().read(source)), tmp_path / "one")
    path, again = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    assert write_flat(dataset, path) == 9
    back = processed(read(path), tmp_path / "two")
    assert list(stored_records(back)) == list(stored_records(dataset))
    write_flat(back, again)
    assert again.read_bytes() == path.read_bytes()


texts = st.text(st.characters(codec="utf-8"), max_size=8)
turns = st.lists(st.builds(Turn, texts.filter(bool), texts), min_size=1, max_size=3).map(tuple)


@st.composite
def datasets(draw: st.DrawFn) -> list[Record]:
    records: list[Record] = []
    for number in range(draw(st.integers(1, 3))):
        said = draw(st.lists(st.tuples(texts, turns), min_size=1, max_size=4))
        sessions = tuple(Session(f"s{position}", date, spoken) for position, (date, spoken) in enumerate(said))
        records.append(Haystack(f"h{number}", sessions))
        for asked in range(draw(st.integers(1, 3))):
            gold = draw(st.lists(st.sampled_from([session.session_id for session in sessions]), unique=True))
            question = draw(texts.filter(str.strip))
            split = draw(st.sampled_from(SPLITS))
            date, answer, category = draw(texts), draw(texts), draw(texts)
            records.append(
                Question(f"h{number}q{asked}", split, f"h{number}", question, date, answer, category, tuple(gold))
            )
    return records


@settings(max_examples=30, deadline=None)
@given(datasets(), st.sampled_from(["parquet", "jsonl"]))
def test_any_dataset_survives_flat_and_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], suffix: str
) -> None:
    directory = tmp_path_factory.mktemp("flat")
    dataset = processed(records, directory / "one")
    path = directory / f"flat.{suffix}"
    write_flat(dataset, path)
    assert list(stored_records(processed(read(path), directory / "two"))) == list(stored_records(dataset))

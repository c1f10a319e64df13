"""Input that is wrong in every way: accepted with a faithful round trip, or refused with file, row and field."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flat_files import stored_records, write_flat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsifter.corpus.records import Record, Refusal, validate
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets.chatml import ChatMlReader
from memsifter.datasets.flat import FlatReader
from memsifter.datasets.hotpotqa import HotpotQaReader
from memsifter.datasets.jsonl import JsonlReader
from memsifter.datasets.locomo import LocomoReader
from memsifter.datasets.longmemeval import LongMemEvalReader
from memsifter.datasets.trajectory import TrajectoryReader
from memsifter.errors import DataError

Reader = Callable[[Path], Iterator[Record]]
LAYOUTS = Path(__file__).parent / "layouts"
READERS: dict[str, tuple[str, Reader]] = {
    "flat": ("flat/test.jsonl", lambda path: FlatReader().read(path)),
    "jsonl": ("conversations.jsonl", lambda path: JsonlReader().read(path)),
    "chatml": ("messages.jsonl", lambda path: ChatMlReader().read(path)),
    "longmemeval": ("longmemeval_s_cleaned.json", lambda path: LongMemEvalReader().read(path)),
    "hotpotqa": ("hotpot_dev_distractor_v1.json", lambda path: HotpotQaReader().read(path)),
    "trajectory": ("webdancer.jsonl", lambda path: TrajectoryReader(per_haystack=2).read(path)),
    "locomo": ("", lambda path: LocomoReader(categories=(1, 2, 3, 4, 5)).read(path)),
}
LOCOMO = {
    "sample_id": "c",
    "conversation": {
        "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hi", "blip_caption": "a dog"}],
        "session_1_date_time": "1:56 pm on 8 May, 2023",
    },
    "qa": [{"question": "?", "answer": 2022, "evidence": ["D1:1"], "category": 1}] * 2,
}
CASES = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
ODD_TEXTS = [
    "",
    " ",
    "\ud800",
    "\x00\x07\x1b[31m",
    "\u202eabc\u2066",
    "مرحبا",
    "👨‍👩‍👧‍👦🏳️‍🌈",
    "\ufeff",
    "a\r\nb\u2028c",
    "x" * 100_000,
    "NaN",
    "null",
    "5",
    "2023-13-45",
    "[]",
    '{"a": 1}',
]
ODD = st.one_of(
    st.sampled_from([None, True, 0, -1, 1.5, 10**30, [], {}, [None], [[]], {"role": 1}, "user", *ODD_TEXTS]),
    st.text(max_size=8),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=5
    ),
)


def rows_of(reader: str) -> list[dict[str, Any]]:
    if reader == "locomo":
        return [copy.deepcopy(LOCOMO)]
    text = (LAYOUTS / READERS[reader][0]).read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        json.loads(text) if text[0] == "[" else [json.loads(line) for line in text.splitlines()]
    )
    return rows


def count_questions(reader: str, row: dict[str, Any]) -> int:
    """How many questions a row holds, told without the reader."""
    name = {"locomo": "qa", "jsonl": "questions", "chatml": "questions"}.get(reader)
    if name is None:
        return 1
    return len(row[name]) if isinstance(row.get(name), list) else 0


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths_of(inner, (*path, key))


def check_outcome(path: Path, reader: str, questions: int | None) -> tuple[int, int]:
    """The numbers of questions accepted and refused (-1: the file as a whole), after the checks for every input."""
    accepted: list[Question] = []
    haystacks: list[Haystack] = []
    refused = 0
    try:
        for record in validate(READERS[reader][1](path)):
            if isinstance(record, Refusal):
                refused += record.questions
                assert path.name in str(record)
                assert any(place in str(record) for place in (": row ", ": line ", ": question ", ": c:"))
                assert record.fix
            elif isinstance(record, Haystack):
                haystacks.append(record)
            elif isinstance(record, Question):
                accepted.append(record)
    except DataError as error:
        check_file_error(error, path)
        return 0, -1
    if questions is not None:
        assert len(accepted) + refused == questions
    if accepted:
        check_round_trip(path.with_suffix(".parquet"), haystacks, accepted)
    return len(accepted), refused


def check_file_error(error: DataError, path: Path) -> None:
    assert path.name in str(error)
    assert error.fix


def check_round_trip(path: Path, haystacks: list[Haystack], questions: list[Question]) -> None:
    """Stored, loaded, written flat and read again, everything is the same."""
    write_dataset([*haystacks, *questions], path.parent / "d")
    dataset = load_dataset(path.parent / "d")
    assert list(stored_records(dataset)) == [*haystacks, *questions]
    write_flat(dataset, path)
    again = list(validate(FlatReader().read(path)))
    assert [record for record in again if isinstance(record, Question)] == questions
    asked = {question.haystack_id for question in questions}
    expected = {haystack.haystack_id: haystack for haystack in haystacks if haystack.haystack_id in asked}
    assert {record.haystack_id: record for record in again if isinstance(record, Haystack)} == expected


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@CASES
@given(data=st.data())
def test_a_damaged_value_is_accepted_faithfully_or_refused(
    reader: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = rows_of(reader)
    row = rows[data.draw(st.integers(0, len(rows) - 1))]
    *parents, last = data.draw(st.sampled_from(list(paths_of(row))[1:]))
    holder: Any = row
    for key in parents:
        holder = holder[key]
    damage = data.draw(st.sampled_from(["replace", "replace", "remove", "double"]))
    if damage == "replace":
        holder[last] = data.draw(ODD)
    elif damage == "remove":
        del holder[last]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_outcome(path, reader, sum(count_questions(reader, row) for row in rows))


@pytest.mark.parametrize("as_array", [True, False])
@settings(CASES, max_examples=250)
@given(data=st.data())
def test_damaged_bytes_are_accepted_faithfully_or_refused(
    as_array: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = rows_of("longmemeval")[:2]
    text = json.dumps(rows) if as_array else "".join(json.dumps(row) + "\n" for row in rows)
    content = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 40)))
        content[start:end] = data.draw(st.binary(max_size=6) | st.sampled_from([b"", b"NaN", b"\xff\xfe", b"[", b'"']))
    path = tmp_path_factory.mktemp("fuzz") / "a.json"
    path.write_bytes(content)
    check_outcome(path, "longmemeval", None)


@settings(CASES, max_examples=200)
@given(
    contents=st.lists(st.lists(st.text(max_size=20), max_size=3), min_size=1, max_size=4),
    date=st.sampled_from(["", "2023/05/20 (Sat) 02:11", "2023-05-20", "1:56 pm on 8 May, 2023", "20.5.2023", "昨天"]),
)
def test_any_text_in_any_number_of_turns_comes_through(
    contents: list[list[str]], date: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = flat_row(
        answer_session_ids=[],
        haystack_session_ids=[f"s{number}" for number in range(len(contents))],
        haystack_dates=[date] * len(contents),
        haystack_sessions=[[{"role": "user", "content": text} for text in turns] for turns in contents],
    )
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    kept = [turns for turns in contents if turns]  # a session without turns is left out, with an issue
    sessions = [
        s for record in validate(FlatReader().read(path)) if isinstance(record, Haystack) for s in record.sessions
    ]
    assert [([turn.content for turn in session.turns], session.date) for session in sessions] == [
        (t, date) for t in kept
    ]
    assert check_outcome(path, "flat", 1) == ((1, 0) if kept else (0, 1))


def flat_row(**changes: Any) -> dict[str, Any]:
    row = {"question_id": "q", "question": "?", "answer": "x", "answer_session_ids": ["s0"]}
    return {
        **row,
        "haystack_session_ids": ["s0"],
        "haystack_sessions": [[{"role": "user", "content": "x"}]],
        **changes,
    }


def said(role: str, content: str) -> dict[str, Any]:
    return flat_row(haystack_sessions=[[{"role": role, "content": content}]])


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (json.dumps([flat_row()])[:-30], (0, -1)),  # truncated
        (json.dumps([flat_row()]) * 2, (0, -1)),  # concatenated
        (json.dumps(flat_row()) * 2, (0, 1)),
        ("\ufeff" + json.dumps(flat_row()) + "\n", (1, 0)),
        (json.dumps([flat_row()]).encode("utf-16"), (0, -1)),
        (json.dumps([flat_row(question="é")], ensure_ascii=False).encode("latin-1"), (0, -1)),
        (json.dumps(flat_row(answer=float("nan"))), (0, 1)),
        (json.dumps(flat_row(answer=5)), (1, 0)),
        (json.dumps(flat_row(question=None)), (0, 1)),
        (json.dumps(flat_row(haystack_sessions=[[]], answer_session_ids=[])), (0, 1)),
        (json.dumps(flat_row(haystack_session_ids=["\ud800"], answer_session_ids=["\ud800"])), (0, 1)),
        (json.dumps(flat_row(haystack_dates=["\udfff"])), (0, 1)),
        (json.dumps(flat_row(haystack_id="\ud800")), (0, 1)),
        (json.dumps(flat_row(question="\ud800")), (0, 1)),
        (json.dumps(said("user", "\ud800")), (0, 1)),
        (json.dumps(said("user", "")), (1, 0)),
        (json.dumps(said("narrator", "x")), (1, 0)),
        (json.dumps(said("", "x")), (0, 1)),
        (json.dumps(flat_row()) + "\n" + json.dumps(flat_row(question="Again?")), (1, 1)),
        (json.dumps(flat_row(answer_session_ids=["gone"])), (0, 1)),
        (json.dumps(said("user", "x" * 1_000_000)), (1, 0)),
        ("", (0, -1)),
        ("[]", (0, 0)),
        ("null", (0, -1)),
    ],
)
def test_hand_made_damage(content: str | bytes, outcome: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert check_outcome(path, "flat", None) == outcome


def test_ten_thousand_sessions_in_one_haystack(tmp_path: Path) -> None:
    sessions = [[{"role": "user", "content": f"number {number}"}] for number in range(10_000)]
    names = [f"s{number}" for number in range(10_000)]
    row = flat_row(haystack_session_ids=names, haystack_sessions=sessions, answer_session_ids=["s9999"])
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row]))
    assert check_outcome(path, "flat", 1) == (1, 0)

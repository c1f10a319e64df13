import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.datasets.chatml import ChatMlReader
from memsifter.datasets.jsonl import JsonlReader
from memsifter.datasets.timestamps import parse_timestamp
from memsifter.errors import DataError

LAYOUTS = Path(__file__).parent / "layouts"


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_conversation_per_line_with_its_questions() -> None:
    records = list(require_valid(JsonlReader().read(LAYOUTS / "conversations.jsonl")))
    ann, other = (record for record in records if isinstance(record, Haystack))
    assert [(session.session_id, session.date) for session in ann.sessions] == [("s1", "2024-05-20 10:00"), ("s2", "")]
    assert ann.sessions[1].turns[0] == Turn("user", "مرحبا 👋🏽")
    assert (other.haystack_id, other.sessions[0].session_id) == ("row2", "session_1")
    questions = [record for record in records if isinstance(record, Question)]
    assert [(q.question_id, q.split, q.answer_session_ids) for q in questions] == [
        ("q1", "test", ("s1",)),
        ("ann-q1", "test", ()),
        ("row2-q0", "train", ("session_1",)),
    ]
    assert questions[1].answer == "b) مرحبا"  # its letter was given


@pytest.mark.parametrize(
    ("changes", "lost", "message"),
    [
        ({"sessions": {}}, 1, "field 'sessions': expected a list, got an object"),
        ({"sessions": [{"id": "s"}]}, 1, r"field 'sessions'[0]: field 'turns' is missing"),
        ({"sessions": [{"turns": [{"role": "user"}]}]}, 1, "field 'content' is missing"),
        ({"questions": 3}, 0, "field 'questions': expected a list"),
        ({"questions": [{"question": "?"}]}, 1, "field 'answer' is missing"),
        ({"questions": [{"question": "?", "answer": "x", "gold": ["gone"]}]}, 1, "gold session(s) ['gone'] are not in"),
        ({"questions": [{"question": "?", "answer": "x", "gold": "s1"}]}, 1, "field 'gold': expected a list"),
        ({"questions": [{"question": "?", "answer": "x", "split": "dev"}]}, 1, "field 'split' is 'dev'"),
        ({"questions": [{"question": "?", "answer": "x", "options": ["y"]}]}, 1, "is none of the 1 options"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], lost: int, message: str, tmp_path: Path) -> None:
    row = {
        "sessions": [{"id": "s1", "turns": [{"role": "user", "content": "x"}]}],
        "questions": [{"question": "?", "answer": "x"}],
    }
    refusals = [r for r in validate(JsonlReader().read(write(tmp_path / "a", row | changes))) if isinstance(r, Refusal)]
    assert [refusal.questions for refusal in refusals] == [lost]
    assert message in refusals[0].problem
    assert refusals[0].fix


def test_messages_are_split_where_the_conversation_paused() -> None:
    records = list(require_valid(ChatMlReader().read(LAYOUTS / "messages.jsonl")))
    (haystack,) = (record for record in records if isinstance(record, Haystack))
    assert [(session.date, len(session.turns)) for session in haystack.sessions] == [
        ("2024-05-20 10:00", 3),
        ("2024-05-21 09:00", 2),
    ]
    assert haystack.sessions[0].turns[2] == Turn("user", "And this is it.")
    assert [r.answer_session_ids for r in records if isinstance(r, Question)] == [("session_1",), ("session_2",)]
    assert [record.kind for record in records if isinstance(record, Issue)] == [
        "system_message_left_out",
        "message_part_left_out",
        "message_part_left_out",
        "empty_message_left_out",
    ]


def test_the_gap_is_a_parameter() -> None:
    for minutes, sessions in ((10.0, 3), (60.0, 2), (60.0 * 24, 1)):
        records = require_valid(ChatMlReader(session_gap_minutes=minutes).read(LAYOUTS / "messages.jsonl"))
        assert [len(r.sessions) for r in records if isinstance(r, Haystack)] == [sessions]


def test_messages_without_times_are_one_session(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": str(n)} for n in range(5)], "questions": []}
    records = list(validate(ChatMlReader().read(write(tmp_path / "a", row))))
    (haystack,) = (record for record in records if isinstance(record, Haystack))
    assert [(session.date, len(session.turns)) for session in haystack.sessions] == [("", 5)]
    assert [record.kind for record in records if isinstance(record, Issue)] == ["messages_without_time"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"messages": [{"role": "user", "content": "x", "timestamp": "soon"}]}, "field 'timestamp': 'soon' is no time"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "field 'text' is missing"),
        ({"messages": [{"role": "user", "content": None}]}, "field 'content': expected a string, got null"),
        ({"messages": [{"id": "a", "role": "u", "content": "x"}] * 2}, "the id 'a' appears twice"),
        ({"messages": []}, "no sessions"),
        ({"questions": [{"question": "?", "answer": "x", "gold": [True]}]}, "'True' is no message that was kept"),
        ({"questions": [{"question": "?", "answer": "x", "gold": [9]}]}, "'9' is no message that was kept"),
    ],
)
def test_what_is_wrong_with_an_export_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "x"}], "questions": [{"question": "?", "answer": "x"}]}
    records = validate(ChatMlReader().read(write(tmp_path / "a", row | changes)))
    refusals = [record for record in records if isinstance(record, Refusal)]
    assert message in refusals[0].problem
    assert sum(refusal.questions for refusal in refusals) == 1


@pytest.mark.parametrize(
    "value",
    [
        1716199200,
        1716199200000,
        "1716199200",
        "2024-05-20T10:00:00Z",
        "2024-05-20T12:00:00+02:00",
        "2024-05-20 10:00",
        "2024/05/20 10:00",
        "2024/05/20 (Mon) 10:00",
        "10:00 am on 20 May, 2024",
        "20 May 2024 10:00",
        "May 20, 2024 10:00 AM",
    ],
)
def test_one_moment_in_many_formats(value: Any) -> None:
    assert parse_timestamp(value, "row 1", "timestamp").isoformat() == "2024-05-20T10:00:00+00:00"


@pytest.mark.parametrize("value", ["", "tomorrow", None, True, [], 1e30, "9" * 30, "0001-01-01T00:00:00+10:00"])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="row 1: field 'timestamp'"):
        parse_timestamp(value, "row 1", "timestamp")

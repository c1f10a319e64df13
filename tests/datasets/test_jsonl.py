import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.datasets.jsonl import JsonlReader

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


def test_ids_may_be_whole_numbers_in_sessions_and_in_gold(tmp_path: Path) -> None:
    sessions = [{"id": number, "turns": [{"role": "user", "content": f"day {number}"}]} for number in (1, 2)]
    questions = [{"question": "?", "answer": "x", "gold": gold} for gold in ([1], ["1"], [2, 1])]
    path = write(tmp_path / "a", {"sessions": sessions, "questions": questions})
    records = require_valid(JsonlReader().read(path))
    assert [r.answer_session_ids for r in records if isinstance(r, Question)] == [("1",), ("1",), ("2", "1")]


@pytest.mark.parametrize(
    ("changes", "lost", "message"),
    [
        ({"sessions": {}}, 1, "field 'sessions': expected a list, got an object"),
        ({"sessions": [{"id": "s"}]}, 1, r"field 'sessions'[0]: field 'turns' is missing"),
        ({"sessions": [{"turns": [{"role": "user"}]}]}, 1, "field 'content' is missing"),
        ({"questions": 3}, 0, "field 'questions': expected a list"),
        ({"questions": [{"question": "?"}]}, 1, "field 'answer' is missing"),
        ({"questions": [{"question": "?", "answer": "x", "gold": ["gone"]}]}, 1, "gold session(s) ['gone'] are not in"),
        ({"questions": [{"question": "?", "answer": "x", "gold": [1]}]}, 1, "gold session(s) ['1'] are not in"),
        ({"questions": [{"question": "?", "answer": "x", "gold": [True]}]}, 1, "expected a string, got a boolean"),
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

import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Record, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets.longmemeval import LongMemEvalReader
from memsifter.errors import MemSifterError


def row(**changes: Any) -> dict[str, Any]:
    return {
        "question_id": "q1",
        "question_type": "multi-session",
        "question": "How many?",
        "answer": 3,
        "question_date": "2023/06/01 (Thu) 10:00",
        "haystack_dates": ["2023/05/20 (Sat) 02:11", "2023/05/10 (Wed) 09:00"],
        "haystack_session_ids": ["late", "early"],
        "haystack_sessions": [
            [{"role": "user", "content": "One more", "has_answer": True}],
            [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Two"}],
        ],
        "answer_session_ids": ["early", "late"],
        **changes,
    }


def read(tmp_path: Path, *rows: dict[str, Any]) -> list[Record]:
    path = tmp_path / "longmemeval.json"
    path.write_text(json.dumps(rows))
    return list(require_valid(LongMemEvalReader().read(path)))


def haystacks(records: list[Record]) -> list[Haystack]:
    return [record for record in records if isinstance(record, Haystack)]


def questions(records: list[Record]) -> list[Question]:
    return [record for record in records if isinstance(record, Question)]


def test_a_question_follows_its_haystack_in_the_order_of_the_source(tmp_path: Path) -> None:
    issue, haystack, question = read(tmp_path, row())
    assert issue == Issue("turn_field_not_kept", "row 1: 'has_answer' of 1 turns")
    assert isinstance(haystack, Haystack)
    assert [(session.session_id, session.date) for session in haystack.sessions] == [
        ("late", "2023/05/20 (Sat) 02:11"),
        ("early", "2023/05/10 (Wed) 09:00"),
    ]
    assert question == Question(
        "q1",
        "test",
        haystack.haystack_id,
        "How many?",
        "2023/06/01 (Thu) 10:00",
        "3",
        "multi-session",
        ("early", "late"),
    )


def test_equal_haystacks_are_shared_and_others_are_not(tmp_path: Path) -> None:
    other_dates = row(question_id="q3", haystack_dates=["2022", "2023"])
    records = read(tmp_path, row(), row(question_id="q2", question="Other?"), other_dates, row(question_id="q4"))
    first, second = (haystack.haystack_id for haystack in haystacks(records))
    assert [question.haystack_id for question in questions(records)] == [first, first, second, first]


def test_an_abstention_question_has_its_own_category_and_no_gold(tmp_path: Path) -> None:
    records = read(tmp_path, row(question_id="q1_abs"))
    (question,) = questions(records)
    assert (question.category, question.answer_session_ids) == ("abstention", ())
    assert [record.kind for record in records if isinstance(record, Issue)] == [
        "turn_field_not_kept",
        "abstention_question",
    ]


def test_a_repeated_session_id_loses_no_session(tmp_path: Path) -> None:
    said = [[{"role": "user", "content": content}] for content in ("a", "b", "a", "c")]
    ids = ["x", "x", "x", "x#2"]
    records = read(
        tmp_path,
        row(haystack_sessions=said, haystack_session_ids=ids, haystack_dates=[""] * 4, answer_session_ids=["x"]),
    )
    (haystack,) = haystacks(records)
    assert [session.session_id for session in haystack.sessions] == ["x", "x#3", "x#4", "x#2"]
    assert [session.turns[0].content for session in haystack.sessions] == ["a", "b", "a", "c"]
    assert questions(records)[0].answer_session_ids == ("x", "x#3", "x#4")
    assert [record.kind for record in records if isinstance(record, Issue)] == ["repeated_session_id"] * 2


def test_an_empty_session_leaves_haystack_and_gold(tmp_path: Path) -> None:
    sessions = [[], [{"role": "user", "content": "Two"}]]
    records = read(tmp_path, row(haystack_sessions=sessions), row(question_id="q2", haystack_sessions=sessions))
    (haystack,) = haystacks(records)
    assert [session.session_id for session in haystack.sessions] == ["early"]
    assert [question.answer_session_ids for question in questions(records)] == [("early",), ("early",)]
    assert [record for record in records if isinstance(record, Issue)] == [
        Issue("empty_session", "row 1: session 'late' has no turns and was left out"),
        Issue("gold_session_empty", "question 'q1': gold session 'late' has no turns"),
        Issue("gold_session_empty", "question 'q2': gold session 'late' has no turns"),
    ]


def test_gold_outside_the_haystack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"row 1: question 'q1': gold .* \['elsewhere'\] are not in haystack"):
        read(tmp_path, row(answer_session_ids=["early", "elsewhere"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": None}, "row 1: field 'answer': expected a string, got null"),
        ({"question_id": 5}, "row 1: field 'question_id': expected a string, got a whole number"),
        ({"haystack_dates": ["2023"]}, "row 1: 2 session ids, 1 dates and 2 sessions"),
        ({"haystack_sessions": [[], {}]}, r"field 'haystack_sessions'\[1\]: expected a list, got an object"),
        (
            {"haystack_sessions": [[{"role": "user", "content": None}], []]},
            r"field 'haystack_sessions'\[0\]\[0\]: field 'content': expected a string, got null",
        ),
        ({"answer_session_ids": "early"}, "field 'answer_session_ids': expected a list, got a string"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=message):
        read(tmp_path, row(**changes))


@pytest.mark.parametrize("train_fraction", [None, 0.5])
def test_a_question_that_cannot_be_asked_is_named_with_its_own_row(
    train_fraction: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "longmemeval.jsonl"
    rows = [row(question=" "), row(question_id="q2"), row(question_id="q2"), row(question_id="q4")]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    records = validate(LongMemEvalReader(train_fraction=train_fraction).read(path))
    assert [(r.where, r.field) for r in records if isinstance(r, Refusal)] == [
        (f"{path}: line 1", "question"),
        (f"{path}: line 3", "question_id"),
    ]


def test_the_real_questions_share_one_haystack(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "longmemeval" / "longmemeval_s_9q.json"
    report = write_dataset(LongMemEvalReader().read(path), tmp_path / "d")
    assert (report["haystacks"], report["sessions"], report["questions"], report["issues"]) == (
        1,
        39,
        9,
        {"turn_field_not_kept": 1},
    )
    raw = json.loads(path.read_text())
    dataset = load_dataset(tmp_path / "d")
    for question, source in zip(dataset.questions, raw, strict=True):
        index = dataset.haystack_of(question)
        assert (question.answer, list(question.answer_session_ids)) == (source["answer"], source["answer_session_ids"])
        assert list(index.session_ids) == source["haystack_session_ids"]
        assert list(index.dates) == source["haystack_dates"]
        for key, session in zip(index.session_keys, source["haystack_sessions"], strict=True):
            assert [turn.content for turn in dataset.turns(key)] == [turn["content"] for turn in session]

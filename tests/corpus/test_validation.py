import json
from dataclasses import replace
from pathlib import Path

import pytest

from memsifter.corpus.records import Position, Record, Refusal, validate
from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets.check import CheckReport, check_records
from memsifter.errors import MemSifterError

HAYSTACK = Haystack("h", (Session("s", "", (Turn("user", "x"),)),))
QUESTION = Question("q", "test", "h", "?", "", "x", "c", ("s",))
BROKEN: list[Record] = [
    Position("a.jsonl: line 1"),
    HAYSTACK,
    QUESTION,
    Position("a.jsonl: line 2"),
    replace(QUESTION, question_id="q2", answer_session_ids=("gone",)),
    Refusal("a.jsonl: line 3", "answer", "a.jsonl: line 3: field 'answer' is missing", "add it", 1),
    Position("a.jsonl: line 4"),
    QUESTION,
    Haystack("empty", ()),
    replace(QUESTION, question_id="q5", haystack_id="empty"),
    replace(QUESTION, question_id="q6", question="Again?"),
]


def test_what_goes_in_comes_out_or_is_refused_and_counted() -> None:
    records = list(validate(BROKEN))
    refusals = [record for record in records if isinstance(record, Refusal)]
    kept = [record for record in records if isinstance(record, Question)]
    assert [question.question_id for question in kept] == ["q", "q6"]
    assert sum(refusal.questions for refusal in refusals) == 4
    assert [(refusal.where[-1], refusal.field) for refusal in refusals] == [
        ("2", "answer_session_ids"),
        ("3", "answer"),
        ("4", "question_id"),
        ("4", "sessions"),
        ("4", "haystack_id"),
    ]
    assert all(refusal.fix for refusal in refusals)


def test_strict_is_the_first_refusal(tmp_path: Path) -> None:
    message = r"^a\.jsonl: line 2: question 'q2': gold session\(s\) \['gone'\] are not in haystack 'h'; name sessions"
    with pytest.raises(MemSifterError, match=message):
        write_dataset(BROKEN, tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_report_leaves_out_counts_and_lists(tmp_path: Path) -> None:
    report = write_dataset(BROKEN, tmp_path / "d", on_error="report")
    assert (report["questions"], report["questions_refused"]) == (2, 4)
    listed = [json.loads(line) for line in (tmp_path / "d" / "refused.jsonl").read_text().splitlines()]
    assert [entry["where"] for entry in listed] == [f"a.jsonl: line {number}" for number in (2, 3, 4, 4, 4)]
    assert {*listed[0]} == {"where", "field", "problem", "fix", "questions"}
    assert [question.question_id for question in load_dataset(tmp_path / "d").questions] == ["q", "q6"]


def test_nothing_left_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="the source holds no questions: all 1 of its questions were refused"):
        write_dataset(BROKEN[:2] + BROKEN[3:5], tmp_path / "d", on_error="report")


def test_the_check_and_the_stage_refuse_the_same(tmp_path: Path) -> None:
    report = CheckReport()
    errors = [line for line in check_records(BROKEN, report) if line.startswith("error")]
    written = write_dataset(BROKEN, tmp_path / "d", on_error="report")
    assert len(errors) == report.errors == 5
    assert (report.questions, report.refused_questions) == (written["questions"], written["questions_refused"])


def test_a_dataset_without_questions_is_no_dataset() -> None:
    report = CheckReport()
    (line,) = check_records([HAYSTACK], report)
    assert line == "error: the source holds no questions\n  fix: add questions to it"
    assert report.errors == 1

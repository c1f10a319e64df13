import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Record, require_valid
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.corpus.store import write_dataset
from memsifter.datasets.locomo import LocomoReader
from memsifter.errors import MemSifterError

CONVERSATION = {
    "sample_id": "conv-1",
    "conversation": {
        "speaker_a": "Ann",
        "speaker_b": "Bob",
        "session_10_date_time": "9:00 am on 3 June, 2023",
        "session_10": [{"speaker": "Bob", "dia_id": "D10:1", "text": "Bye", "blip_caption": "a red door"}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Ann", "dia_id": "D2:1", "text": "Hi Bob"},
            {"speaker": "Bob", "dia_id": "D2:2", "text": "", "blip_caption": "a dog", "query": "dog", "img_url": ["u"]},
        ],
        "session_11_date_time": "never",
        "session_12_date_time": "never",
    },
    "qa": [
        {"question": "How old?", "answer": 7, "evidence": ["D2:1", "D10:1"], "category": 1},
        {"question": "When?", "answer": "May", "evidence": ["D2:2"], "category": 2},
        {"question": "Trap?", "adversarial_answer": "wrong", "evidence": ["D10:1"], "category": 5},
        {"question": "Trap too?", "adversarial_answer": "wrong", "answer": "No", "evidence": [], "category": 5},
    ],
}


def read(tmp_path: Path, sample: Any = CONVERSATION, categories: tuple[int, ...] = (1, 2, 3, 4, 5)) -> list[Record]:
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([sample]))
    return list(require_valid(LocomoReader(categories=categories).read(path)))


def test_sessions_are_ordered_by_number_and_keep_speakers_dates_and_captions(tmp_path: Path) -> None:
    (haystack,) = (record for record in read(tmp_path) if isinstance(record, Haystack))
    assert haystack.haystack_id == "conv-1"
    assert [session.session_id for session in haystack.sessions] == ["session_2", "session_10"]
    assert haystack.sessions[0].date == "1:56 pm on 8 May, 2023"
    assert haystack.sessions[0].turns == (Turn("Ann", "Hi Bob"), Turn("Bob", "[shares a photo: a dog]"))
    assert haystack.sessions[1].turns == (Turn("Bob", "Bye [shares a photo: a red door]"),)


def test_questions_carry_the_raw_index_the_category_name_and_the_last_date(tmp_path: Path) -> None:
    questions = [record for record in read(tmp_path, categories=(2, 5)) if isinstance(record, Question)]
    assert [question.question_id for question in questions] == ["conv-1-q1", "conv-1-q2", "conv-1-q3"]
    assert [question.category for question in questions] == ["temporal", "adversarial", "adversarial"]
    assert {question.question_date for question in questions} == {"9:00 am on 3 June, 2023"}


def test_a_trap_has_no_answer_unless_the_file_gives_one(tmp_path: Path) -> None:
    records = read(tmp_path, categories=(5,))
    assert [record.answer for record in records if isinstance(record, Question)] == ["", "No"]
    assert Issue("question_without_answer", "question 'conv-1-q2': the source gives no answer") in records


def test_whole_numbers_become_text(tmp_path: Path) -> None:
    first = next(record for record in read(tmp_path) if isinstance(record, Question))
    assert first.answer == "7"
    assert first.answer_session_ids == ("session_2", "session_10")


def test_dates_without_a_session_are_one_issue(tmp_path: Path) -> None:
    issues = [record for record in read(tmp_path) if isinstance(record, Issue) and "date" in record.kind]
    detail = "conv-1: dates for sessions that do not exist: session_11, session_12"
    assert issues == [Issue("date_without_session", detail)]


def test_an_empty_session_is_left_out_and_reported(tmp_path: Path) -> None:
    sample = copy.deepcopy(CONVERSATION)
    sample["conversation"]["session_11"] = []  # type: ignore[index]
    records = read(tmp_path, sample)
    assert Issue("empty_session", "conv-1: session_11 has no turns and was left out") in records
    assert sum(len(record.sessions) for record in records if isinstance(record, Haystack)) == 2


def test_categories_that_leave_nothing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"locomo\.json: no question of categories 3, 4; choose other categories$"):
        read(tmp_path, categories=(3, 4))


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("sample_id",), 3, "row 1: field 'sample_id': expected a string, got a whole number"),
        (("conversation",), [], "conv-1: field 'conversation': expected an object, got a list"),
        (("conversation", "session_2", 0, "text"), None, r"conv-1: session_2\[0\]: field 'text': expected a string"),
        (("conversation", "session_2_date_time"), None, "field 'session_2_date_time': expected a string, got null"),
        (("qa", 0, "answer"), None, "question 'conv-1-q0': field 'answer': expected a string, got null"),
        (("qa", 0, "category"), "1", "question 'conv-1-q0': field 'category': expected a whole number"),
        (("qa", 0, "category"), 6, "question 'conv-1-q0': category is 6, allowed: 1 to 5"),
        (("qa", 1), "?", "question 'conv-1-q1': expected an object, got a string"),
    ],
)
def test_a_wrong_field_is_named(where: tuple[str | int, ...], value: Any, message: str, tmp_path: Path) -> None:
    sample: Any = copy.deepcopy(CONVERSATION)
    target = sample
    for step in where[:-1]:
        target = target[step]
    target[where[-1]] = value
    with pytest.raises(MemSifterError, match=message):
        read(tmp_path, sample)


def test_the_real_conversations(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "locomo" / "locomo6.json"
    report = write_dataset(LocomoReader().read(source), tmp_path / "d")
    assert (report["haystacks"], report["sessions"], report["questions"]) == (6, 156, 885)
    assert report["questions_without_gold"] == 2  # 883 questions have evidence
    assert report["issues"] == {
        "date_without_session": 1,
        "evidence_repaired": 2,
        "evidence_turn_missing": 1,
        "evidence_unreadable": 1,
        "question_without_evidence": 2,
    }
    assert str(source.parent) not in (tmp_path / "d" / "report.json").read_text()


def test_the_real_conversations_hold_every_turn_and_caption(shared_data: Path) -> None:
    path = shared_data / "locomo" / "locomo6.json"
    raw = [
        turn
        for sample in json.loads(path.read_text())
        for value in sample["conversation"].values()
        if isinstance(value, list)
        for turn in value
    ]
    read_turns = [
        turn
        for record in LocomoReader(categories=(1,)).read(path)
        if isinstance(record, Haystack)
        for session in record.sessions
        for turn in session.turns
    ]
    assert Counter(turn.role for turn in read_turns) == Counter(turn["speaker"] for turn in raw)
    assert sum("[shares a photo: " in turn.content for turn in read_turns) == sum("blip_caption" in t for t in raw)
    assert sum(len(turn["text"]) for turn in raw) <= sum(len(turn.content) for turn in read_turns)

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.datasets.check import guess_reader
from memsifter.datasets.friendsqa import FriendsQaReader
from memsifter.errors import DataError


def answer(text: str, *, is_speaker: bool = False) -> dict[str, Any]:
    return {"answer_text": text, "utterance_id": 0, "inner_start": 0, "inner_end": 0, "is_speaker": is_speaker}


def scene(title: str) -> dict[str, Any]:
    said = [
        {"uid": 0, "speakers": ["Ann Lee"], "utterance": "Bob bought a boat ."},
        {"uid": 1, "speakers": ["Bob Ray", "Cy Day"], "utterance": "We did !"},
    ]
    qas = [
        {"id": f"{title}_What", "question": "What was bought ?", "answers": [answer("boat"), answer("a boat")] * 2},
        {"id": f"{title}_Who_Paraphrased", "question": "Who tells ?", "answers": [answer("Ann Lee", is_speaker=True)]},
    ]
    return {"title": title, "paragraphs": [{"utterances:": said, "qas": qas}]}


def write(path: Path, *scenes: Any) -> Path:
    path.write_text(json.dumps({"data": scenes, "version": "1"}, indent=1))
    return path


def test_consecutive_scenes_are_the_sessions_of_a_haystack(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", *map(scene, ("s01_c01", "s02_c07", "s01_c02")))
    records = list(require_valid(FriendsQaReader(scenes=2).read(path)))
    haystacks = [record for record in records if isinstance(record, Haystack)]
    assert [(h.haystack_id, [s.session_id for s in h.sessions]) for h in haystacks] == [
        ("scenes-000", ["s01_c01", "s02_c07"]),
        ("scenes-001", ["s01_c02"]),
    ]
    assert haystacks[0].sessions[0].turns == (
        Turn("Ann Lee", "Bob bought a boat ."),
        Turn("Bob Ray, Cy Day", "We did !"),
    )
    assert {session.date for haystack in haystacks for session in haystack.sessions} == {""}


def test_a_question_has_its_scene_as_gold_and_the_text_marked_most_often_as_answer(tmp_path: Path) -> None:
    value = scene("s01_c01")
    value["paragraphs"][0]["qas"][0]["answers"].append(answer("a boat"))
    path = write(tmp_path / "f.json", value)
    records = list(require_valid(FriendsQaReader(split="train").read(path)))
    questions = [record for record in records if isinstance(record, Question)]
    assert [(q.question_id, q.category, q.answer, q.answer_session_ids, q.split) for q in questions] == [
        ("s01_c01_What", "What", "a boat", ("s01_c01",), "train"),
        ("s01_c01_Who_Paraphrased", "Who", "Ann Lee", ("s01_c01",), "train"),
    ]
    (issue,) = (record for record in records if isinstance(record, Issue))
    assert issue == Issue("other_answers_left_out", "question 's01_c01_What': 1 beside 'a boat'")


def test_of_texts_marked_equally_often_the_first_is_the_answer(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", scene("s01_c01"))
    assert next(r.answer for r in require_valid(FriendsQaReader().read(path)) if isinstance(r, Question)) == "boat"


@pytest.mark.parametrize(
    ("keys", "value", "lost", "message"),
    [
        ((), 7, 0, "row 1: scene 2: expected an object, got a whole number"),
        (("title",), None, 2, "scene 2: field 'title': expected a string, got null"),
        (("title",), "one", 2, "scene 2: title 'one' repeats"),
        (("title",), "", 2, "a session has an empty id"),
        (("paragraphs", 0, "utterances:", 1, "utterance"), "\ud800", 2, "turn 1: content is not valid Unicode"),
        (("paragraphs",), [7], 0, r"scene 2: field 'paragraphs'\[0\]: expected an object"),
        (("paragraphs", 0, "qas"), None, 0, "scene 2: field 'qas': expected a list"),
        (("paragraphs", 0, "utterances:"), [], 2, "scene 2: the scene has no utterances"),
        (("paragraphs", 0, "utterances:", 1, "speakers"), [], 2, r"field 'utterances:'\[1\]: nobody speaks"),
        (("paragraphs", 0, "utterances:", 1, "utterance"), 5, 2, "field 'utterance': expected a string"),
        (("paragraphs", 0, "qas", 1, "answers"), [], 1, "scene 2: question 1: no answer is marked"),
        (("paragraphs", 0, "qas", 1, "answers"), ["x"], 1, r"question 1: field 'answers'\[0\]: expected an object"),
        (("paragraphs", 0, "qas", 1, "question"), "", 1, "empty question text"),
    ],
)
def test_what_is_broken_is_refused_alone(
    keys: tuple[Any, ...], value: Any, lost: int, message: str, tmp_path: Path
) -> None:
    scenes: list[Any] = [scene("one"), scene("two"), scene("three")]
    holder: Any = scenes
    for key, following in zip((1, *keys), keys, strict=False):
        holder, last = holder[key], following
    holder[last if keys else 1] = value
    records = list(validate(FriendsQaReader().read(write(tmp_path / "f.json", *scenes))))
    (refusal,) = (record for record in records if isinstance(record, Refusal))
    assert (refusal.questions, ": scene 2" in refusal.where) == (lost, True)
    with pytest.raises(DataError, match=message):
        raise DataError(refusal.problem)
    assert refusal.fix
    titles = [question.answer_session_ids[0] for question in records if isinstance(question, Question)]
    assert titles == ["one"] * 2 + ["two"] * (lost == 1) + ["three"] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"version": "1"}, "row 1: field 'data' is missing; found version"),
        ({"data": {}, "version": "1"}, "row 1: field 'data': expected a list, got an object"),
        ({"data": [], "version": "1"}, "field 'data' holds no scene"),
    ],
)
def test_a_file_in_another_layout_is_refused_as_a_whole(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(content, indent=1))
    with pytest.raises(DataError, match=message):
        list(FriendsQaReader().read(path))


def test_the_layout_is_recognised(tmp_path: Path) -> None:
    assert guess_reader(write(tmp_path / "f.json", scene("s01_c01"))) == "friendsqa"


@pytest.mark.parametrize(
    ("name", "haystacks", "sessions", "questions", "several_answers"),
    [("friendsqa_tst.json", 4, 113, 1201, 708), ("friendsqa_dev.json", 5, 136, 1182, 668)],
)
def test_the_real_files_are_read_without_a_refusal(
    name: str, haystacks: int, sessions: int, questions: int, several_answers: int, shared_data: Path
) -> None:
    records = list(require_valid(FriendsQaReader().read(shared_data / "friendsqa" / name)))
    read = [record for record in records if isinstance(record, Haystack)]
    assert (len(read), sum(len(haystack.sessions) for haystack in read)) == (haystacks, sessions)
    asked = [record for record in records if isinstance(record, Question)]
    assert len(asked) == questions
    assert set(Counter(question.category for question in asked)) == {"What", "Who", "Where", "Why", "How", "When"}
    assert sum(isinstance(record, Issue) for record in records) == several_answers


@pytest.mark.parametrize(
    "data", [[{"title": "Normans", "paragraphs": [{"context": "In France.", "qas": []}]}], [], {}, [{"paragraphs": []}]]
)
def test_other_data_is_not_taken_for_this_layout(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": data, "version": "2.0"}))
    assert guess_reader(path) == "flat"

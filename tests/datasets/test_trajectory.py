import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets.trajectory import TrajectoryReader

LAYOUTS = Path(__file__).parent / "layouts"
BROWSED = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Search."}]


def test_browsing_steps_are_sessions_and_a_questions_own_are_gold() -> None:
    records = list(require_valid(TrajectoryReader().read(LAYOUTS / "webdancer.jsonl")))
    (haystack,) = (record for record in records if isinstance(record, Haystack))
    assert [session.session_id for session in haystack.sessions] == ["q1-step1", "q1-step2", "q2-step1"]
    assert [turn.role for turn in haystack.sessions[0].turns] == ["assistant", "user"]
    first, second = (record for record in records if isinstance(record, Question))
    assert (first.question, first.answer) == ("Who won the 1964 derby?\nGive the horse.", "Santa Claus")
    assert (first.category, first.answer_session_ids) == ("e2hqa", ("q1-step1", "q1-step2"))
    assert (second.question, second.answer, second.answer_session_ids) == ("Where is Bala?", "In Wales", ("q2-step1",))
    assert Issue("answer_alternatives_not_kept", "question 'q1': 1") in records
    assert not any("answer>" in turn.content for session in haystack.sessions for turn in session.turns)


def test_a_haystack_holds_so_many_trajectories() -> None:
    records = list(require_valid(TrajectoryReader(per_haystack=1).read(LAYOUTS / "webdancer.jsonl")))
    assert [len(record.sessions) for record in records if isinstance(record, Haystack)] == [2, 1]


def test_miroverse_marks_its_answers_with_a_box() -> None:
    records = list(require_valid(TrajectoryReader().read(LAYOUTS / "webwalker.jsonl")))
    questions = [(r.question, r.answer) for r in records if isinstance(r, Question)]
    assert questions == [("When is the paper deadline?", "21 March"), ("会议地点", "维也纳")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"messages": None}, "field 'messages': expected a list, got null"),
        ({"messages": []}, "expected a question of the user"),
        ({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}, "without a step"),
        ({"answer": {"a": 1}}, "field 'answer': expected a string, got an object"),
        ({"answer": []}, "field 'answer': expected a string, got a list"),
        ({"messages": [*BROWSED, {"role": "", "content": "Seen."}]}, "session 'q1-step1': turn 1: empty role"),
        ({"messages": [*BROWSED, {"role": "user", "content": "\ud800"}]}, "turn 1: content is not valid Unicode"),
    ],
)
def test_a_bad_row_is_refused_alone(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (LAYOUTS / "webdancer.jsonl").read_text().splitlines()]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows[0] | changes, rows[1])))
    records = list(validate(TrajectoryReader().read(path)))
    (refusal,) = (record for record in records if isinstance(record, Refusal))
    assert message in refusal.problem
    assert refusal.where.endswith("a.jsonl: line 1")
    assert [record.answer for record in records if isinstance(record, Question)] == ["In Wales"]


def test_questions_without_trajectories_are_explained(shared_data: Path) -> None:
    first = next(
        read for read in validate(TrajectoryReader(per_haystack=5).read(shared_data / "webdancer" / "sample_qa.jsonl"))
    )
    assert isinstance(first, Refusal)
    assert "take the file of the trajectories" in first.fix


def test_the_real_trajectories_give_each_question_its_steps(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "webdancer" / "sample_traj.jsonl"
    report = write_dataset(TrajectoryReader().read(path), tmp_path / "d")
    raw = [json.loads(line) for line in path.read_text().splitlines()]
    assert (report["questions"], report["haystacks"], report["questions_without_gold"]) == (199, 10, 0)
    # system, question, then pairs of action and observation, then the answer
    assert report["sessions"] == sum((len(row["messages"]) - 3) // 2 for row in raw)
    for question, row in zip(load_dataset(tmp_path / "d").questions, raw, strict=True):
        assert row["messages"][1]["content"].endswith(f"\n\nUser: {question.question}")
        assert "<tool_call>" not in question.question

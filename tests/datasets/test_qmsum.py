import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.datasets.check import guess_reader
from memsifter.datasets.qmsum import QmSumReader


def meeting(*queries: dict[str, Any]) -> dict[str, Any]:
    """Seven turns; topic 0 is turns 2, 3 and 6, topic 1 turns 0 and 1, and turns 4 and 5 have no topic."""
    return {
        "meeting_transcripts": [{"speaker": "AB"[n % 2], "content": f"turn {n}"} for n in range(7)],
        "topic_list": [
            {"topic": "later", "relevant_text_span": [["6", "6"], ["2", "3"]]},
            {"topic": "first", "relevant_text_span": [["0", "1"]]},
        ],
        "general_query_list": [{"query": "Summarize", "answer": "all"}],
        "specific_query_list": list(queries),
    }


def query(*spans: list[str]) -> dict[str, Any]:
    return {"query": "What was said?", "answer": "much", "relevant_text_span": list(spans)}


def write(path: Path, *meetings: Any) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in meetings))
    return path


def test_topics_of_consecutive_meetings_are_the_sessions_of_a_haystack(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *[meeting(query(["0", "0"]))] * 3)
    records = list(require_valid(QmSumReader(meetings=2).read(path)))
    haystacks = [record for record in records if isinstance(record, Haystack)]
    assert [(h.haystack_id, [s.session_id for s in h.sessions]) for h in haystacks] == [
        ("meetings-000", ["meeting-1-topic-1", "meeting-1-topic-0", "meeting-2-topic-1", "meeting-2-topic-0"]),
        ("meetings-001", ["meeting-3-topic-1", "meeting-3-topic-0"]),
    ]
    assert haystacks[0].sessions[1].turns == (Turn("A", "turn 2"), Turn("B", "turn 3"), Turn("A", "turn 6"))
    assert Issue("turns_without_topic", "meeting-1: 2 of 7 turns were left out") in records


@pytest.mark.parametrize(
    ("spans", "gold", "issue"),
    [
        ([["0", "0"]], ("meeting-1-topic-1",), None),
        ([["6", "6"], ["1", "1"]], ("meeting-1-topic-1", "meeting-1-topic-0"), None),
        ([["3", "4"]], ("meeting-1-topic-0",), "evidence_turn_missing"),
        ([["4", "5"]], None, "query_outside_topics"),
        ([], None, "query_without_span"),
    ],
)
def test_topics_that_share_a_turn_with_the_spans_are_gold(
    spans: list[list[str]], gold: tuple[str, ...] | None, issue: str | None, tmp_path: Path
) -> None:
    path = write(tmp_path / "q.jsonl", meeting(query(*spans)))
    records = list(require_valid(QmSumReader(split="train").read(path)))
    questions = [(q.answer_session_ids, q.answer, q.split) for q in records if isinstance(q, Question)]
    assert questions == ([] if gold is None else [(gold, "much", "train")])
    kinds = {record.kind for record in records if isinstance(record, Issue)} - {"turns_without_topic"}
    assert kinds == ({issue} if issue else set())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("specific_query_list", [query(["6", "7"])], "is not the first and last of 7 turns"),
        ("specific_query_list", [query(["3", "2"])], "is not the first and last of 7 turns"),
        ("specific_query_list", [query(["1"])], "is not the first and last of 7 turns"),
        ("specific_query_list", [query(["-1", "2"])], "is not the first and last of 7 turns"),
        ("specific_query_list", [query() | {"answer": None}], "line 2: query 0: field 'answer': expected a string"),
        ("topic_list", [{"topic": "x", "relevant_text_span": [["0", "9"]]}], "topic 0: field 'relevant_text_span'"),
        ("topic_list", [], "the meeting has no topic with turns"),
        ("meeting_transcripts", [{"speaker": "", "content": "x"}], "line 2: turn 0: nobody speaks"),
        ("meeting_transcripts", [{"speaker": "A", "content": "\ud800"}] * 7, "turn 0: content is not valid Unicode"),
        ("meeting_transcripts", [{"speaker": "A"}], "turn 0: field 'content' is missing"),
    ],
)
def test_what_is_broken_is_refused_alone(field: str, value: Any, message: str, tmp_path: Path) -> None:
    good = meeting(query(["0", "0"]))
    records = list(validate(QmSumReader().read(write(tmp_path / "q.jsonl", good, good | {field: value}, good))))
    (refusal,) = (record for record in records if isinstance(record, Refusal))
    assert message in refusal.problem
    assert (refusal.questions, bool(refusal.fix), ": line 2" in refusal.where) == (1, True, True)
    questions = [record.question_id for record in records if isinstance(record, Question)]
    assert questions == ["meeting-1-q0", "meeting-3-q0"]


def test_the_layout_is_recognised(tmp_path: Path) -> None:
    assert guess_reader(write(tmp_path / "q.jsonl", meeting())) == "qmsum"


@pytest.mark.parametrize(
    ("name", "haystacks", "sessions", "questions", "left_out"),
    [
        ("Academic_train.jsonl", 14, 174, 215, 3),
        ("Committee_train.jsonl", 8, 150, 279, 5),
        ("ALL_val.jsonl", 12, 149, 236, 1),
    ],
)
def test_the_real_files_are_read_without_a_refusal(
    name: str, haystacks: int, sessions: int, questions: int, left_out: int, shared_data: Path
) -> None:
    records = list(require_valid(QmSumReader().read(shared_data / "qmsum" / name)))
    read = [record for record in records if isinstance(record, Haystack)]
    assert (len(read), sum(len(haystack.sessions) for haystack in read)) == (haystacks, sessions)
    assert sum(isinstance(record, Question) for record in records) == questions
    assert all(record.answer_session_ids for record in records if isinstance(record, Question))
    kinds = Counter(record.kind for record in records if isinstance(record, Issue))
    assert kinds["query_outside_topics"] + kinds["query_without_span"] == left_out


def test_turns_that_say_nothing_are_left_out_and_keep_their_numbers(tmp_path: Path) -> None:
    silent = meeting(query(["3", "3"]))
    silent["meeting_transcripts"][2]["content"] = " "
    records = list(require_valid(QmSumReader().read(write(tmp_path / "q.jsonl", silent))))
    (haystack,) = (record for record in records if isinstance(record, Haystack))
    assert haystack.sessions[1].turns == (Turn("B", "turn 3"), Turn("A", "turn 6"))
    assert Issue("empty_turns", "meeting-1: 1 of 7 turns say nothing and were left out") in records
    assert [q.answer_session_ids for q in records if isinstance(q, Question)] == [("meeting-1-topic-0",)]

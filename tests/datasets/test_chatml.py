import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.datasets.chatml import ChatMlReader

LAYOUTS = Path(__file__).parent / "layouts"


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(content: Any, time: Any = None, role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **({} if time is None else {"timestamp": time}), **fields}


def read_messages(folder: Path, *messages: dict[str, Any]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Date and contents of each session, and the kinds of issues."""
    path = write(folder / "export.jsonl", {"messages": messages, "questions": []})
    records = list(require_valid(ChatMlReader().read(path)))
    (haystack,) = (record for record in records if isinstance(record, Haystack))
    sessions = [(session.date, [turn.content for turn in session.turns]) for session in haystack.sessions]
    return sessions, [record.kind for record in records if isinstance(record, Issue)]


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
        (
            {"messages": [{"role": "user", "content": "x", "timestamp": "soon"}]},
            "field 'timestamp': 'soon' is not a time",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "field 'text' is missing"),
        ({"messages": [{"role": "user"}]}, "field 'content' is missing"),
        ({"messages": [{"role": "user", "content": None}]}, "no sessions"),
        ({"messages": [{"role": "user", "content": 3}]}, "field 'content': expected a string, got a whole number"),
        ({"messages": [{"role": "user", "content": "x", "timestamp": "05/06/2024"}]}, "day and month could be either"),
        ({"messages": [{"role": "user", "content": "x", "timestamp": True}]}, "'True' is not a time"),
        ({"messages": [{"role": "user", "content": "x", "timestamp": []}]}, "'[]' is not a time"),
        ({"messages": [{"id": "a", "role": "u", "content": "x"}] * 2}, "the id 'a' appears twice"),
        ({"messages": []}, "no sessions"),
        ({"questions": [{"question": "?", "answer": "x", "gold": [True]}]}, "'True' names no message that was kept"),
        ({"questions": [{"question": "?", "answer": "x", "gold": [9]}]}, "'9' names no message that was kept"),
    ],
)
def test_what_is_wrong_with_an_export_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "x"}], "questions": [{"question": "?", "answer": "x"}]}
    records = validate(ChatMlReader().read(write(tmp_path / "a", row | changes)))
    refusals = [record for record in records if isinstance(record, Refusal)]
    assert message in refusals[0].problem
    assert sum(refusal.questions for refusal in refusals) == 1


@pytest.mark.parametrize(
    ("ids", "gold", "session"),
    [
        ((None, None, None, None), 1, 2),  # no ids: its number from 0
        (("a", "b", "c", "d"), 1, 2),
        (("a", "b", "c", "d"), "b", 2),
        ((1, 2, 3, 4), 1, 1),  # an id is no number from 0
        ((1, 2, 3, 4), "1", 1),
        ((1, 2, 3, 4), 4, 4),
        ((1, 2, 3, 4), 0, None),
        ((0, 10, 1, 11), 1, 3),
        (("1", "2", "3", "4"), 1, 1),
        (("1", "2", "3", "4"), 0, None),
        ((7, "b", None, None), 1, None),
        ((1.0, 2.0, 3.0, 4.0), 1, None),
        (("a", "12", "c", "3"), 12, 2),
        (("a", "12", "c", "3"), 3, 4),
        (("a", "12", "c", "3"), 2, 3),  # none of its ids is written so
        (("a", "b", "0", "d"), 0, 3),
    ],
)
def test_a_whole_number_in_gold_is_an_id_where_it_can_be(
    ids: tuple[Any, ...], gold: Any, session: int | None, tmp_path: Path
) -> None:
    messages = [said(f"day {n}", f"2024-05-2{n}") | {"id": message_id} for n, message_id in enumerate(ids, start=1)]
    question = {"question": "?", "answer": "x", "gold": [gold]}
    path = write(tmp_path / "a", {"messages": messages, "questions": [question]})
    records = list(validate(ChatMlReader().read(path)))
    found = [record.answer_session_ids for record in records if isinstance(record, Question)]
    assert found == ([] if session is None else [(f"session_{session}",)])
    refused = [record.problem for record in records if isinstance(record, Refusal)]
    assert [f"'{gold}' names no message that was kept" in problem for problem in refused] == [True] * (session is None)


def test_the_id_of_a_message_that_is_left_out_is_no_place_of_another(tmp_path: Path) -> None:
    messages = [said("Be kind.", role="system", id="1"), said("Hello.", id="a"), said("Good morning!", id="b")]
    question = {"question": "?", "answer": "x", "gold": [1]}
    path = write(tmp_path / "a", {"messages": messages, "questions": [question]})
    (refusal,) = (record for record in validate(ChatMlReader().read(path)) if isinstance(record, Refusal))
    assert "'1' names no message that was kept" in refusal.problem


@pytest.mark.parametrize(
    ("times", "dates"),
    [
        (("20240520", "20240611"), ["2024-05-20", "2024-06-11"]),
        ((20240520, 20240611), ["2024-05-20", "2024-06-11"]),
        (("20240520093000", "20240611093000"), ["2024-05-20 09:30", "2024-06-11 09:30"]),
        ((1716199200, 1718099200000), ["2024-05-20 10:00", "2024-06-11 09:46"]),
    ],
)
def test_digits_are_dates_where_they_can_be(times: tuple[Any, Any], dates: list[str], tmp_path: Path) -> None:
    sessions, issues = read_messages(tmp_path, said("tulips", times[0]), said("canoe", times[1]))
    assert ([date for date, _ in sessions], issues) == (dates, [])


def test_a_session_keeps_the_day_that_its_writer_saw(tmp_path: Path) -> None:
    sessions, _ = read_messages(
        tmp_path, said("evening", "2024-05-20T21:30:00-07:00"), said("noon", "2024-05-20T12:00Z")
    )
    assert sessions == [("2024-05-20 12:00", ["noon"]), ("2024-05-20 21:30-07:00", ["evening"])]


def test_an_export_that_is_newest_first_is_turned_round(tmp_path: Path) -> None:
    messages = [
        said("parrot", "2024-08-03T10:00:00Z"),
        said("Lovely.", "2024-05-20T10:00:00Z", role="assistant"),  # of the same second as what it answers
        said("tulips", "2024-05-20T10:00:00Z"),
    ]
    sessions, issues = read_messages(tmp_path, *messages)
    assert sessions == [("2024-05-20 10:00", ["tulips", "Lovely."]), ("2024-08-03 10:00", ["parrot"])]
    assert issues == ["messages_out_of_order"]


def test_chats_that_follow_each_other_in_any_order_stay_apart(tmp_path: Path) -> None:
    messages = [
        said("A1"),  # without a time: it stays with what follows it
        said("A2", "2024-08-03T10:00:00Z"),
        said("A3"),
        said("B1", "2024-05-20T10:00:00Z"),
        said("B2", "2024-05-20T10:01:00Z"),
    ]
    sessions, issues = read_messages(tmp_path, *messages)
    assert sessions == [("2024-05-20 10:00", ["B1", "B2"]), ("2024-08-03 10:00", ["A1", "A2", "A3"])]
    assert issues == ["messages_out_of_order"]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (said(None, tool_calls=[{"id": "c1"}]), None),
        (said(None, function_call={"name": "lookup"}), None),
        (said(None, reasoning_content="hmm"), None),
        (said(None), None),
        ({"role": "assistant", "tool_calls": [{"id": "c1"}]}, None),
        (said(None, refusal="I can't."), "I can't."),
        (said([{"type": "refusal", "refusal": "I can't."}]), "I can't."),
        (said(None, audio={"id": "a1", "transcript": "A fine town."}), "A fine town."),
        (said(["A fine town."]), "A fine town."),
    ],
)
def test_a_message_without_text_costs_only_itself(message: dict[str, Any], kept: str | None, tmp_path: Path) -> None:
    sessions, issues = read_messages(tmp_path, said("My sister moved to Bergen."), message | {"role": "assistant"})
    assert sessions == [("", ["My sister moved to Bergen.", *([] if kept is None else [kept])])]
    assert ("empty_message_left_out" in issues) == (kept is None)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_are_no_talk(role: str, tmp_path: Path) -> None:
    sessions, issues = read_messages(tmp_path, said("Ada's dog is called Pixel.", role=role), said("Good morning!"))
    assert sessions == [("", ["Good morning!"])]
    assert "system_message_left_out" in issues

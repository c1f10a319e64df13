import logging
from datetime import UTC, date, datetime
from typing import Any

import pytest

from memsifter.corpus.sessions import Session, Turn
from memsifter.errors import DataError
from memsifter.sifter.inputs import parse_sessions, read_sessions

TURNS = [{"role": "user", "content": "My cat is Momo."}, {"role": "assistant", "content": "Hello, Momo!"}]
READ = (Turn("user", "My cat is Momo."), Turn("assistant", "Hello, Momo!"))


@pytest.mark.parametrize(
    "session",
    [
        {"id": "session_1", "date": "2024-05-20", "turns": TURNS},
        {"date": date(2024, 5, 20), "turns": tuple(TURNS)},
        {"date": "2024-05-20", "messages": TURNS},
        {"messages": [turn | {"timestamp": "2024-05-20"} for turn in TURNS]},
        [turn | {"timestamp": "2024-05-20"} for turn in TURNS],
        [
            {"role": "system", "content": "Be kind.", "timestamp": "2024-05-20"},
            *({**t, "date": "2024-05-20"} for t in TURNS),
        ],
        Session("session_1", "2024-05-20", READ),
    ],
)
def test_every_form_of_a_session_is_read_as_the_same(session: Any) -> None:
    assert read_sessions([session]) == (Session("session_1", "2024-05-20", READ),)


def test_turns_are_taken_as_they_are_and_messages_are_cleaned() -> None:
    odd = [{"role": "system", "content": "Be kind."}, {"role": "Ann", "content": ""}, *TURNS]
    taken, cleaned = read_sessions([{"turns": odd}, {"messages": odd}])
    assert taken.turns == (Turn("system", "Be kind."), Turn("Ann", ""), *READ)
    assert cleaned.turns == READ


def test_the_texts_of_openai_parts_are_kept_and_what_is_no_text_is_told(caplog: pytest.LogCaptureFixture) -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    with caplog.at_level(logging.WARNING):
        [session] = read_sessions([[{"role": "user", "content": parts}]])
    assert session.turns == (Turn("user", "Look:"),)
    assert "message part left out (1), for example: sessions[0]: message 0: 1 without text" in caplog.text


def test_one_list_of_messages_is_cut_where_the_conversation_paused() -> None:
    times = [datetime(2024, 5, 20, 9, 0), datetime(2024, 5, 20, 9, 5), datetime(2024, 5, 22, 18, 0, tzinfo=UTC)]
    messages = [{"role": "user", "content": str(n), "timestamp": time.isoformat()} for n, time in enumerate(times)]
    first, second = read_sessions(messages)
    assert [turn.content for turn in first.turns] == ["0", "1"]
    assert (second.session_id, second.date) == ("session_2", "2024-05-22 18:00")


def test_a_missing_id_is_the_number_of_the_session() -> None:
    sessions = read_sessions([TURNS, {"id": 7, "turns": TURNS}, TURNS])
    assert [session.session_id for session in sessions] == ["session_1", "7", "session_3"]


@pytest.mark.parametrize(
    ("sessions", "problem"),
    [
        ("history.jsonl", r"sessions: expected a list of sessions, got a string"),
        ([], r"sessions: the list is empty"),
        ([TURNS, 5], r"sessions\[1\]: expected a session, got a whole number"),
        ([{"text": "x"}], r"sessions\[0\]: neither 'turns' nor 'messages'; found 'text'"),
        ([{"title": "Cat", "mapping": {}}], r"or a list of messages; docs/use\.md turns exports into"),
        ([{"turns": [{"role": "user"}]}], r"sessions\[0\]: field 'turns'\[0\]: field 'content' is missing"),
        ([{"turns": [{"role": "user", "content": 5}]}], r"sessions\[0\].*expected a string, got a whole number"),
        ([{"messages": [{"role": "user", "content": [5]}]}], r"sessions\[0\]: field 'messages'\[0\]: field 'content'"),
        ([[TURNS[0], {"role": "user", "content": "x", "timestamp": "soon"}]], r"sessions\[0\].*'soon' is not a time"),
        ([{"turns": []}], r"sessions\[0\]: no turns with text"),
        ([[{"role": "system", "content": "Be kind."}]] * 2, r"sessions\[0\]: no turns with text"),
        ([{"turns": [{"role": "", "content": "x"}]}], r"sessions\[0\]: session 'unnamed': turn 0: empty role"),
        ([{"turns": [{"role": "user", "content": "\ud800"}]}], r"sessions\[0\]:.* not valid Unicode"),
        (
            [{"id": "a", "turns": TURNS}, {"id": "a", "turns": TURNS}],
            r"sessions\[1\]: the id 'a' is that of sessions\[0\]",
        ),
        (TURNS, r"sessions: this is one list of messages, and none has a time"),
    ],
)
def test_what_is_wrong_is_one_error_that_names_the_place(sessions: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as error:
        read_sessions(sessions)
    assert error.value.fix


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_separators_that_json_allows_in_a_text_end_no_line(separator: str) -> None:
    lines = f'{{"turns": [{{"role": "user", "content": "a{separator}b"}}]}}\r\n[{{"role": "user", "content": "c"}}]\r\n'
    first, second = read_sessions(parse_sessions(lines, "f"))
    assert (first.turns[0].content, second.turns[0].content) == (f"a{separator}b", "c")


def test_files_hold_json_lines_or_one_array() -> None:
    lines = '{"turns": [{"role": "user", "content": "a"}]}\n\n[{"role": "user", "content": "b"}]\n'
    array = '[{"turns": [{"role": "user", "content": "a"}]}, [{"role": "user", "content": "b"}]]'
    assert parse_sessions(lines, "f") == parse_sessions(array, "f")
    lists = '[{"role": "user", "content": "a"}]\n[{"role": "user", "content": "b"}]\n'
    assert [session.turns[0].content for session in read_sessions(parse_sessions(lists, "f"))] == ["a", "b"]
    for text, problem in (
        ("", "f: holds no session"),
        ("{}\n{", "f: line 2: not valid JSON"),
        ('{\n  "turns": []\n}', r"f: line 1: not valid JSON .*; write each session on a line of its own \(jq -c\)"),
        ('{"turns": NaN}', "f: line 1: (?!.*jq -c)"),
        ("[1,", "f: not valid JSON"),
    ):
        with pytest.raises(DataError, match=problem):
            parse_sessions(text, "f")

from typing import Any

import pytest

from memsifter.corpus.sessions import Session
from memsifter.errors import DataError
from memsifter.serving.history import read_history, sift_history
from memsifter.sifter.results import SiftedSession


def say(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


SYSTEM = say("system", "Be brief.")
CAT = [say("user", "My cat is Momo."), say("assistant", "Nice.")]
WEATHER = [
    say("user", "Will it rain?"),
    say("assistant", None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "rain"}}]),
    say("tool", "yes", tool_call_id="1"),
    say("assistant", "It will."),
]
PICTURE = [say("user", [{"type": "image_url", "image_url": {"url": "data:"}}])]
SOUP = [say("user", "How do I cook lentils?"), say("assistant", "Soak them.")]
LAST = [say("user", "What is my cat called?")]
ALL = [SYSTEM, *CAT, *WEATHER, *PICTURE, say("assistant", ""), *SOUP, *LAST]


def named(*words: str) -> Any:
    """A search that finds the exchanges with one of these words, and keeps what it was asked."""

    def search(question: str, exchanges: list[Session]) -> list[SiftedSession]:
        asked.append((question, [[turn.content for turn in item.turns] for item in exchanges]))
        return [
            SiftedSession(0, item.session_id, "", 1.0, "", None)
            for item in exchanges
            if any(word in turn.content for turn in item.turns for word in words)
        ]

    asked: list[Any] = []
    search.asked = asked  # type: ignore[attr-defined]
    return search


def test_what_helps_is_kept_whole_and_in_its_order() -> None:
    search = named("rain", "Momo")
    assert sift_history(read_history(ALL, 0), 2, search) == [SYSTEM, *CAT, *WEATHER, *LAST]
    [(question, exchanges)] = search.asked
    assert question == "What is my cat called?"
    assert exchanges == [
        ["My cat is Momo.", "Nice."],
        ["Will it rain?", "yes", "It will."],
        ["How do I cook lentils?", "Soak them."],
    ]


def test_the_latest_exchanges_are_kept_whatever_they_are_about() -> None:
    assert sift_history(read_history(ALL, 1), 1, named("Momo")) == [SYSTEM, *CAT, *SOUP, *LAST]
    assert sift_history(read_history(ALL, 1), 1, named("nothing")) == [SYSTEM, *SOUP, *LAST]


def test_a_short_history_stays_and_is_not_searched() -> None:
    search = named()
    assert sift_history(read_history(ALL, 2), 2, search) == ALL
    assert sift_history(read_history(ALL, 100), 1, search) == ALL
    assert search.asked == []


def test_what_follows_the_question_belongs_to_it() -> None:
    working = [*ALL, say("assistant", None, tool_calls=[{"id": "2"}]), say("tool", "Momo", tool_call_id="2")]
    assert sift_history(read_history(working, 0), 1, named("Soak")) == [SYSTEM, *SOUP, *working[-3:]]


def test_several_messages_of_a_user_are_one_exchange() -> None:
    messages = [say("user", "a"), say("user", "b"), say("assistant", "c"), say("user", "d"), say("user", "e")]
    history = read_history(messages, 0)
    assert (list(history.older), set(history.always), history.question) == ([[0, 1, 2]], {3, 4}, "e")


def test_without_a_question_nothing_is_left_out() -> None:
    for messages in ([SYSTEM], [say("assistant", "a"), say("assistant", "b")], [*ALL[:-1], *PICTURE]):
        assert sift_history(read_history(messages, 0), 1, named()) == messages


def test_a_wrong_message_is_named() -> None:
    messages = [say("user", 5), say("assistant", "a"), *CAT, *LAST]
    with pytest.raises(DataError, match=r"messages\[0\]"):
        sift_history(read_history(messages, 0), 1, named())

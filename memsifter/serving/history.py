"""A long chat history, sifted: which of its exchanges an LLM needs for the last question.

An exchange is what a user says and all that follows until the user speaks again: answers, calls of tools and their
results. Exchanges are kept whole, so that no result of a tool loses its call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from memsifter.corpus.sessions import Session
from memsifter.datasets.assembly import SYSTEM_ROLES
from memsifter.datasets.chatml import read_messages, to_session
from memsifter.datasets.io.layout import require
from memsifter.sifter.results import SiftedSession

Message = dict[str, Any]
Search = Callable[[str, list[Session]], list[SiftedSession]]


@dataclass(frozen=True)
class History:
    """A list of messages, told apart.

    Attributes:
        messages: all of them.
        always: the places of those that are always kept: instructions, and the latest exchanges.
        older: the places of each exchange before these.
        question: the text of the user's last message; "" where there is none.
    """

    messages: Sequence[Message]
    always: frozenset[int]
    older: Sequence[Sequence[int]]
    question: str


def read_history(messages: Sequence[Message], recent: int) -> History:
    """Cut a list of messages into exchanges.

    Args:
        messages: as OpenAI's clients send them.
        recent: how many exchanges before the last question are kept whatever they are about.

    Raises:
        DataError: a message is malformed.
    """
    told = [_read_role(message, f"messages[{place}]") for place, message in enumerate(messages)]
    fixed = {place for place, role in enumerate(told) if role in SYSTEM_ROLES}
    exchanges: list[list[int]] = []
    before: Any = None
    for place, role in enumerate(told):
        if place in fixed:
            continue
        if not exchanges or (role == "user" and before != "user"):
            exchanges.append([])
        exchanges[-1].append(place)
        before = role
    asked = [place for place, role in enumerate(told) if role == "user"]
    question = _read_text(messages[asked[-1]], f"messages[{asked[-1]}]") if asked else ""
    older, latest = exchanges[: -1 - recent], exchanges[-1 - recent :]
    always = frozenset(fixed.union(*latest))
    return History(messages, always, older, question)


def sift_history(history: History, most: int, search: Search) -> list[Message]:
    """The messages that are worth sending, in their order.

    Args:
        history: the messages.
        most: how many of the older exchanges may be kept; if there are no more, nothing is left out.
        search: finds exchanges for a question.

    Raises:
        DataError: a message is malformed.
        MemSifterError: a model does not answer.
    """
    if len(history.older) <= most or not history.question.strip():
        return list(history.messages)
    sessions = []
    for number, places in enumerate(history.older):
        where = f"messages[{places[0]}]"
        said, _ = read_messages({"messages": [history.messages[place] for place in places]}, where, where)
        if any(message.turn.content.strip() for message in said):  # a picture alone cannot be found
            sessions.append(to_session(str(number), said))
    found = search(history.question, sessions) if sessions else []
    kept = history.always.union(*(history.older[int(session.id)] for session in found))
    return [message for place, message in enumerate(history.messages) if place in kept]


def _read_role(message: Message, where: str) -> str:
    role: str = require(message, "role", str, where)
    return role


def _read_text(message: Message, where: str) -> str:
    said, _ = read_messages({"messages": [message]}, where, where)
    return "\n".join(item.turn.content for item in said)

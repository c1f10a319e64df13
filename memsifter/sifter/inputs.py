"""Sessions as applications hold them, read into the domain's own; every error names the place.

A session is one of

    {"id": "s1", "date": "2024-05-20", "turns": [{"role": "user", "content": "…"}, …]}    taken as it is
    {"id": "s1", "messages": [{"role": "user", "content": "…", "timestamp": "…"}, …]}     OpenAI's messages
    [{"role": "user", "content": "…"}, …]                                                 the same, without an id

where only turns or messages are required. Of messages the text is kept; system messages, and those without text, are
left out. One flat list of messages is one history: it is cut into sessions where the conversation paused.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from memsifter.corpus.records import Issue
from memsifter.corpus.sessions import Haystack as Haystack
from memsifter.corpus.sessions import Session, check_haystack
from memsifter.datasets.assembly import parse_turns
from memsifter.datasets.chatml import ChatMessage, read_messages, split_sessions, to_session
from memsifter.datasets.io.json_text import is_json, parse_json
from memsifter.datasets.io.layout import check_kind, describe_kind
from memsifter.datasets.jsonl import optional_text
from memsifter.errors import DataError, MemSifterError

logger = logging.getLogger(__name__)

HAYSTACK = "sessions"
"""The id of the one haystack of a call."""
_PAUSE = timedelta(minutes=60)
_FORMS = 'give {"id", "date", "turns"}, {"id", "messages"}, or a list of messages'
_EXPORTS = frozenset({"mapping", "chat_messages"})
"""Fields that ChatGPT's and Claude's exports have in place of messages."""
# As documented, or of no effect on what is found.
_EXPECTED = (
    "system_message_left_out",
    "empty_message_left_out",
    "messages_without_time",
    "messages_out_of_order",
    "sessions_out_of_order",
    "date_missing",
)


def read_sessions(sessions: Any) -> tuple[Session, ...]:
    """Read the sessions of one user, in the order given; ids are unique.

    Raises:
        DataError: it is not a list of sessions, a session is malformed or has no turns, or an id repeats.
    """
    if isinstance(sessions, (str, bytes, Mapping)) or not isinstance(sessions, Iterable):
        raise DataError(f"sessions: expected a list of sessions, got {describe_kind(sessions)}", fix=_FORMS)
    items = list(sessions)
    if not items:
        raise DataError("sessions: the list is empty", fix="give at least one session")
    if all(isinstance(item, Mapping) and "role" in item for item in items):
        return _split_history(items)
    read = [read_session(item, f"sessions[{number}]") for number, item in enumerate(items)]
    named = [
        session if session.session_id else replace(session, session_id=f"session_{number}")
        for number, session in enumerate(read, start=1)
    ]
    places: dict[str, int] = {}
    for number, session in enumerate(named):
        if (first := places.setdefault(session.session_id, number)) != number:
            raise DataError(
                f"sessions[{number}]: the id {session.session_id!r} is that of sessions[{first}]; ids must be unique",
                field="id",
                fix="rename one of the two",
            )
    return tuple(named)


def read_session(item: Any, place: str) -> Session:
    """Read one session; its id is "" where it has none.

    Raises:
        DataError: it is malformed or has no turns.
    """
    if isinstance(item, Session):
        session = item
    elif isinstance(item, Mapping):
        fields = {name: _plain(value) for name, value in item.items()}
        session_id, day = optional_text(fields, "id", place), optional_text(fields, "date", place)
        if "turns" in fields:
            session = Session(session_id, day, parse_turns(fields["turns"], f"{place}: field 'turns'"))
        elif "messages" in fields:
            session = _join_messages(_read_chat(fields["messages"], place), session_id, day)
        else:
            found = ", ".join(map(repr, fields)) or "no fields"
            fix = _FORMS if _EXPORTS.isdisjoint(fields) else f"{_FORMS}; docs/use.md turns exports into these"
            raise DataError(f"{place}: neither 'turns' nor 'messages'; found {found}", field="turns", fix=fix)
    elif isinstance(item, (list, tuple)):
        session = _join_messages(_read_chat(list(item), place), "", "")
    else:
        raise DataError(f"{place}: expected a session, got {describe_kind(item)}", fix=_FORMS)
    if not session.turns:
        raise DataError(f"{place}: no turns with text", field="turns", fix="leave the session out")
    try:
        check_haystack(Haystack(HAYSTACK, (replace(session, session_id=session.session_id or "unnamed"),)))
    except DataError as error:
        problem = error.problem.removeprefix(f"haystack {HAYSTACK!r}: ")
        raise DataError(f"{place}: {problem}", field=error.field, fix=error.fix) from error
    return session


def parse_sessions(text: str, where: str) -> list[Any]:
    """The sessions of a text: JSON lines, one session each, or one JSON array of sessions or messages.

    Raises:
        DataError: it is neither.
    """
    lines = number_lines(text)
    if text.lstrip().startswith("["):
        try:
            whole = parse_json(text, where)
        except DataError:
            if len(lines) == 1:
                raise
        else:
            return check_kind(whole, list, where)
    items: list[Any] = [_parse_line(line, f"{where}: line {number}") for number, line in lines]
    if not items:
        raise DataError(f"{where}: holds no session", fix=_FORMS)
    return items


def _parse_line(line: str, place: str) -> Any:
    try:
        return parse_json(line, place)
    except DataError as error:
        if is_json(line):
            raise
        # What jq writes without -c is JSON as a whole, but not line by line.
        fix = "write each session on a line of its own (jq -c), or all of them as one JSON array"
        raise DataError(error.problem, field=error.field, fix=fix) from error


def number_lines(text: str) -> list[tuple[int, str]]:
    """The lines of JSON lines that are not empty, with their numbers from 1.

    Only a newline ends one: the other characters at which `str.splitlines` cuts may stand within a JSON string.
    """
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def as_text(value: str | date | None, name: str) -> str:
    """A date as the domain writes it: "" for None.

    Raises:
        MemSifterError: it is no text and no date.
    """
    plain = _plain(value)
    if plain is None:
        return ""
    if not isinstance(plain, str):
        raise MemSifterError(f"{name}: expected a text or a date, got {describe_kind(value)}; write it as 2024-05-20")
    return plain


def report_issues(issues: Sequence[Issue]) -> None:
    """Say what was left out or put right: a warning for what may be missed, else a line for those who want it."""
    examples: dict[str, str] = {}
    counts = Counter(issue.kind for issue in issues)
    for issue in issues:
        examples.setdefault(issue.kind, issue.detail)
    for kind, count in counts.items():
        level = logging.INFO if kind in _EXPECTED else logging.WARNING
        logger.log(level, "%s (%d), for example: %s", kind.replace("_", " "), count, examples[kind])


def _split_history(messages: list[Any]) -> tuple[Session, ...]:
    read = _read_chat([dict(message) for message in messages], "sessions")
    if not any(message.moment for message in read):
        raise DataError(
            "sessions: this is one list of messages, and none has a time at which it could be cut into sessions",
            fix='give each message a "timestamp", or a list of sessions',
        )
    parts = split_sessions(read, _PAUSE)
    return tuple(to_session(f"session_{number}", part) for number, part in enumerate(parts, start=1))


def _read_chat(messages: Any, place: str) -> list[ChatMessage]:
    read, issues = read_messages({"messages": _plain(messages)}, place, place)
    report_issues(issues)
    return read


def _join_messages(messages: list[ChatMessage], session_id: str, day: str) -> Session:
    parts = split_sessions(messages, timedelta.max)
    if not parts:
        return Session(session_id, day, ())
    session = to_session(session_id, parts[0])
    return replace(session, date=day) if day else session


def _plain(value: Any) -> Any:
    """Tuples as the lists and dates as the texts that JSON would hold."""
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, date) else value

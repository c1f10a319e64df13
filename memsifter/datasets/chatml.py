"""Exported OpenAI-style message lists, split into sessions where the conversation paused.

    {"id": "ann", "messages": [{"id": "m1", "role": "user", "content": "…", "timestamp": "2024-05-20T10:00:00Z"}, …],
     "questions": [{"question": "…", "answer": "…", "gold": ["m1"]}]}

One object per line, or in one array. Required are `messages`, `role`, `content`, and `questions` as in `jsonl`, where
`gold` names messages by their `id` or their number from 0. The time may stand in `timestamp`, `created_at`,
`create_time` or `date`; `content` may be a list of parts, of which the texts are kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from memsifter.corpus.records import Issue, Position, Record, refuse
from memsifter.corpus.sessions import Haystack, Session, Turn
from memsifter.datasets.io.layout import check_kind, require
from memsifter.datasets.io.rows import iter_rows
from memsifter.datasets.jsonl import optional_text, read_questions
from memsifter.datasets.reader import FileReader
from memsifter.datasets.timestamps import parse_timestamp
from memsifter.errors import DataError

_TIME_FIELDS = ("timestamp", "created_at", "create_time", "date")
_TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True)
class _Message:
    names: tuple[Any, ...]
    turn: Turn
    time: datetime | None


class ChatMlReader(FileReader):
    """Exported OpenAI-style message lists."""

    reader: Literal["chatml"] = "chatml"
    session_gap_minutes: Annotated[float, Field(gt=0)] = 60.0
    """A pause longer than this ends a session, in minutes; above 0."""

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the exports.

        A pause longer than `session_gap_minutes` ends a session; a message without a time stays with the one before it.
        System messages, messages without text, and parts that are no text are left out, with an issue.

        Raises:
            DataError: the file is no JSON; an export or question that is not in the layout becomes a refusal.
        """
        for row in iter_rows(path):
            yield Position(row.where)
            questions: list[Any] = []
            try:
                fields = row.fields()
                questions = require(fields, "questions", list, row.where)
                messages, issues = _read_messages(fields, row.where, row.label)
                haystack_id = optional_text(fields, "id", row.where, f"row{row.number}")
            except DataError as error:
                yield refuse(row.where, error, questions=len(questions))
                continue
            sessions = _split_sessions(messages, timedelta(minutes=self.session_gap_minutes))
            session_of = {
                name: f"session_{number}"
                for number, session in enumerate(sessions, start=1)
                for message in session
                for name in message.names
            }
            yield from issues
            yield Haystack(
                haystack_id, tuple(_to_session(f"session_{i}", part) for i, part in enumerate(sessions, start=1))
            )

            def find_gold(value: Any, where: str, session_of: Mapping[Any, str] = session_of) -> tuple[str, ...]:
                if isinstance(value, bool) or not isinstance(value, (str, int)) or value not in session_of:
                    raise DataError(
                        f"{where}: {str(value)[:40]!r} is no message that was kept",
                        field="gold",
                        fix="name a message by its id, or by its number from 0",
                    )
                return (session_of[value],)

            yield from read_questions(questions, haystack_id, find_gold, row.where, self.split)


def _read_messages(fields: Mapping[str, Any], where: str, label: str) -> tuple[list[_Message], list[Issue]]:
    messages: list[_Message] = []
    issues: list[Issue] = []
    seen: set[Any] = set()
    for number, value in enumerate(require(fields, "messages", list, where)):
        place = f"{where}: field 'messages'[{number}]"
        item = check_kind(value, dict, place, "messages")
        role = require(item, "role", str, place)
        text, parts_left_out = _read_content(item, place)
        message_id = optional_text(item, "id", place) or None
        if message_id in seen:
            raise DataError(f"{place}: the id {message_id!r} appears twice", field="id", fix="rename one of the two")
        seen |= {message_id} - {None}
        if parts_left_out:
            issues.append(Issue("message_part_left_out", f"{label}: message {number}: {parts_left_out} without text"))
        if role == "system" or not text:
            kind = "system_message_left_out" if role == "system" else "empty_message_left_out"
            issues.append(Issue(kind, f"{label}: message {number}"))
            continue
        field = next((name for name in _TIME_FIELDS if item.get(name) is not None), None)
        time = None if field is None else parse_timestamp(item[field], place, field)
        names = (number,) if message_id is None else (number, message_id)
        messages.append(_Message(names, Turn(role, text), time))
    times = [message.time for message in messages if message.time]
    if times != sorted(times):
        issues.append(Issue("messages_out_of_order", f"{label}: times go back; the order of the file is kept"))
    if messages and not times:
        issues.append(Issue("messages_without_time", f"{label}: no message has a time; all are one session"))
    return messages, issues


def _read_content(item: Mapping[str, Any], where: str) -> tuple[str, int]:
    """The text of a message, and how many of its parts are none."""
    content = item.get("content")
    if content is None and item.get("tool_calls") is not None:
        return "", 1
    if not isinstance(content, list):
        return require(item, "content", str, where), 0
    parts = [check_kind(part, dict, f"{where}: field 'content'[{i}]", "content") for i, part in enumerate(content)]
    texts = [part for part in parts if part.get("type") in _TEXT_PARTS]
    return "\n".join(require(part, "text", str, f"{where}: field 'content'") for part in texts), len(parts) - len(texts)


def _split_sessions(messages: list[_Message], gap: timedelta) -> list[list[_Message]]:
    sessions: list[list[_Message]] = []
    last: datetime | None = None
    for message in messages:
        paused = last is not None and message.time is not None and message.time - last > gap
        if paused or not sessions:
            sessions.append([])
        sessions[-1].append(message)
        last = message.time or last
    return sessions


def _to_session(session_id: str, messages: list[_Message]) -> Session:
    start = next((message.time for message in messages if message.time), None)
    date = "" if start is None else start.strftime("%Y-%m-%d %H:%M")
    return Session(session_id, date, tuple(message.turn for message in messages))

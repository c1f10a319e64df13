"""Exported OpenAI-style message lists, split into sessions where the conversation paused.

    {"id": "ann", "messages": [{"id": "m1", "role": "user", "content": "…", "timestamp": "2024-05-20T10:00:00Z"}, …],
     "questions": [{"question": "…", "answer": "…", "gold": ["m1"]}]}

One object per line, or in one array. Required are `messages`, `role`, `content`, and `questions` as in `jsonl`, where
`gold` names messages: a text is an `id`; a whole number is the `id` that is written so, else the message's number from
0. In an export whose ids are numbers it is never the latter, since `1` would then mean two messages. The time may stand
in `timestamp`, `created_at`, `create_time` or `date`, in any form that `memsifter.corpus.dates` reads; `content` may be
a list of parts, of which the texts are kept. Exports may be newest first, or hold several chats one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from memsifter.corpus.dates import DateError, Moment, parse_moment
from memsifter.corpus.records import Issue, Position, Record, refuse
from memsifter.corpus.sessions import Haystack, Session, Turn
from memsifter.datasets.assembly import SYSTEM_ROLES
from memsifter.datasets.io.layout import check_kind, require
from memsifter.datasets.io.rows import iter_rows
from memsifter.datasets.jsonl import optional_text, read_questions
from memsifter.datasets.reader import FileReader
from memsifter.errors import DataError

_TIME_FIELDS = ("timestamp", "created_at", "create_time", "date")
_TEXT_PARTS = ("text", "input_text", "output_text")
_CALLS = ("tool_calls", "function_call", "refusal", "audio")


@dataclass(frozen=True)
class ChatMessage:
    """A message that was kept.

    Attributes:
        names: what `gold` may call it: its id, as text, and its number from 0 where that cannot mean an id.
        turn: what was said.
        moment: when; that of the message before it where it has none of its own.
    """

    names: tuple[Any, ...]
    turn: Turn
    moment: Moment | None

    @property
    def time(self) -> datetime:
        """When it was said; before everything else where no message before it has a time."""
        return self.moment.instant if self.moment else datetime.min.replace(tzinfo=UTC)


class ChatMlReader(FileReader):
    """Exported OpenAI-style message lists."""

    reader: Literal["chatml"] = "chatml"
    """The layout of the source."""
    session_gap_minutes: Annotated[float, Field(gt=0)] = 60.0
    """A pause longer than this ends a session, in minutes; above 0."""

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the exports.

        A pause longer than `session_gap_minutes` ends a session, and so does a step back by as much; sessions, and the
        messages in them, are then in the order of time. A message without a time stays with the one before it. A
        session's date is what its writer's clock showed. System and developer messages, messages without text, and
        parts that are not text are left out, with an issue.

        Raises:
            DataError: the file is not JSON; an export or question that is not in the layout becomes a refusal.
        """
        for row in iter_rows(path):
            yield Position(row.where)
            questions: list[Any] = []
            try:
                fields = row.fields()
                questions = require(fields, "questions", list, row.where)
                messages, issues = read_messages(fields, row.where, row.label)
                haystack_id = optional_text(fields, "id", row.where, f"row{row.number}")
            except DataError as error:
                yield refuse(row.where, error, questions=len(questions))
                continue
            sessions = split_sessions(messages, timedelta(minutes=self.session_gap_minutes))
            session_of = {
                name: f"session_{number}"
                for number, session in enumerate(sessions, start=1)
                for message in session
                for name in message.names
            }
            yield from issues
            yield Haystack(
                haystack_id, tuple(to_session(f"session_{i}", part) for i, part in enumerate(sessions, start=1))
            )

            def find_gold(value: Any, where: str, session_of: Mapping[Any, str] = session_of) -> tuple[str, ...]:
                names = (value, str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else ()
                found = next((session_of[name] for name in names if name in session_of), None)
                if found is None:
                    raise DataError(
                        f"{where}: {str(value)[:40]!r} names no message that was kept",
                        field="gold",
                        fix="name a message by its id, or by its number from 0 where ids are no numbers",
                    )
                return (found,)

            yield from read_questions(questions, haystack_id, find_gold, row.where, self.split)


def read_messages(fields: Mapping[str, Any], where: str, label: str) -> tuple[list[ChatMessage], list[Issue]]:
    """The messages of `fields["messages"]`, and what was left out or put right in them.

    Args:
        fields: of an export.
        where: its place, for errors.
        label: its place, for issues.

    Raises:
        DataError: a message is not in the layout.
    """
    messages: list[ChatMessage] = []
    issues: list[Issue] = []
    items = [
        (f"{where}: field 'messages'[{number}]", value)
        for number, value in enumerate(require(fields, "messages", list, where))
    ]
    names_of = _read_names([(place, check_kind(value, dict, place, "messages")) for place, value in items])
    for number, (place, item) in enumerate(items):
        role = require(item, "role", str, place)
        text, parts_left_out = _read_content(item, place)
        if parts_left_out:
            issues.append(Issue("message_part_left_out", f"{label}: message {number}: {parts_left_out} without text"))
        if role in SYSTEM_ROLES or not text:
            kind = "system_message_left_out" if role in SYSTEM_ROLES else "empty_message_left_out"
            issues.append(Issue(kind, f"{label}: message {number}"))
            continue
        messages.append(ChatMessage(names_of[number], Turn(role, text), _read_time(item, place)))
    times = [message.time for message in messages if message.moment]
    if times != sorted(times):
        issues.append(Issue("messages_out_of_order", f"{label}: times go back; the messages were sorted by time"))
        if times == sorted(times, reverse=True):  # newest first: messages of one time are in the wrong order as well
            messages.reverse()
    if messages and not times:
        issues.append(Issue("messages_without_time", f"{label}: no message has a time; all are one session"))
    return messages, issues


def _read_names(items: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[Any, ...]]:
    """What `gold` may call each message. All ids decide, those of messages that are left out as well.

    Args:
        items: the place of each message, for errors, and the message.

    Raises:
        DataError: an id is neither text nor a number, or appears twice.
    """
    ids = [optional_text(item, "id", place) for place, item in items]
    known: set[str] = set()
    for (place, _), message_id in zip(items, ids, strict=True):
        if message_id in known:
            raise DataError(f"{place}: the id {message_id!r} appears twice", field="id", fix="rename one of the two")
        known |= {message_id} - {""}
    numbered = any(isinstance(item.get("id"), (int, float, Decimal)) for _, item in items)
    numbered = numbered or (bool(known) and all(message_id.isdecimal() for message_id in known))
    names: list[tuple[Any, ...]] = []
    for number, message_id in enumerate(ids):
        place_name = () if numbered or str(number) in known else (number,)
        names.append((*place_name, message_id) if message_id else place_name)
    return names


def _read_time(item: Mapping[str, Any], where: str) -> Moment | None:
    field = next((name for name in _TIME_FIELDS if item.get(name) is not None), None)
    if field is None:
        return None
    value = item[field]
    try:
        if isinstance(value, (str, int, float, Decimal)):
            return parse_moment(value)
        reason = "it is no date"
    except DateError as error:
        reason = str(error)
    problem = f"{where}: field {field!r}: {str(value)[:40]!r} is not a time: {reason}"
    raise DataError(problem, field=field, fix="write it as 2024-05-20T10:00:00Z")


def _read_content(item: Mapping[str, Any], where: str) -> tuple[str, int]:
    """The text of a message, and how many of its parts are none."""
    content = item.get("content")
    if content is None and ("content" in item or any(item.get(field) is not None for field in _CALLS)):
        aside = _read_aside(item)
        return aside, 0 if aside else 1
    if not isinstance(content, list):
        return require(item, "content", str, where), 0
    texts, left_out = [], 0
    for number, value in enumerate(content):
        place = f"{where}: field 'content'[{number}]"
        part = {"type": "text", "text": value} if isinstance(value, str) else check_kind(value, dict, place, "content")
        if part.get("type") in _TEXT_PARTS:
            texts.append(require(part, "text", str, f"{where}: field 'content'"))
        elif aside := _read_aside(part):
            texts.append(aside)
        else:
            left_out += 1
    return "\n".join(texts), left_out


def _read_aside(item: Mapping[str, Any]) -> str:
    """What was said beside the content: the words of a refusal, or those of a voice; "" where there are none."""
    refusal, audio = item.get("refusal"), item.get("audio") or item.get("input_audio")
    said = audio.get("transcript") if isinstance(audio, Mapping) else None
    return next((text for text in (refusal, said) if isinstance(text, str)), "")


def split_sessions(messages: list[ChatMessage], gap: timedelta) -> list[list[ChatMessage]]:
    """Cut at every jump in time longer than the gap, and sort the pieces and the messages in each of them."""
    sessions: list[list[ChatMessage]] = []
    last: Moment | None = None
    for message in messages:
        jumped = last and message.moment and abs(message.time - last.instant) > gap
        if jumped or not sessions:
            sessions.append([])
        last = message.moment or last
        sessions[-1].append(replace(message, moment=last))
    for session in sessions:
        session.sort(key=lambda message: message.time)
    return sorted(sessions, key=lambda session: next((m.time for m in session if m.moment), session[0].time))


def to_session(session_id: str, messages: list[ChatMessage]) -> Session:
    """A session of these messages, with the date of the first that has one."""
    start = next((message.moment for message in messages if message.moment), None)
    return Session(session_id, "" if start is None else _written(start), tuple(message.turn for message in messages))


def _written(moment: Moment) -> str:
    """A date as its writer saw it, with the offset from UTC where there is one."""
    if not moment.has_time:
        return f"{moment.day:%Y-%m-%d}"
    offset = moment.written.strftime("%z") if moment.written.utcoffset() else ""
    return f"{moment.written:%Y-%m-%d %H:%M}{offset[:3]}{offset and ':'}{offset[3:5]}"

"""The domain: turns, sessions, haystacks, questions; their Arrow schemas, validation and text rendering."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

from memsifter.errors import DataError

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
NO_CATEGORY = "uncategorised"  # of a question whose source names none
ALL_CATEGORIES = "all"  # what results call all questions together

SESSIONS_SCHEMA = pa.schema(
    [
        ("session_key", pa.string()),
        ("turns", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)
HAYSTACKS_SCHEMA = pa.schema(
    [
        ("haystack_id", pa.string()),
        ("session_ids", pa.list_(pa.string())),
        ("session_keys", pa.list_(pa.string())),
        ("dates", pa.list_(pa.string())),
    ]
)
QUESTIONS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("split", pa.string()),
        ("haystack_id", pa.string()),
        ("question", pa.string()),
        ("question_date", pa.string()),
        ("answer", pa.string()),
        ("category", pa.string()),
        ("answer_session_ids", pa.list_(pa.string())),
        ("options", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. `role` is "user", "assistant", or a speaker's name in conversations between people."""

    role: str
    content: str


@dataclass(frozen=True)
class Session:
    """One past conversation. `date` is kept as the source writes it ("" when the source has none)."""

    session_id: str
    date: str
    turns: tuple[Turn, ...]

    @cached_property
    def key(self) -> str:
        """Content key: equal turns give equal keys, whatever the session's id or date."""
        return session_key(self.turns)


@dataclass(frozen=True)
class Haystack:
    """All past sessions of one user, in the order of their dates; in the source's order where not all can be read."""

    haystack_id: str
    sessions: tuple[Session, ...]


@dataclass(frozen=True)
class Question:
    """A question to one haystack.

    `answer_session_ids` are the gold sessions; empty means none is known. `options` are the texts to choose from in
    multiple choice, one of which is the `answer`; empty for a free answer.
    """

    question_id: str
    split: Split
    haystack_id: str
    question: str
    question_date: str
    answer: str
    category: str
    answer_session_ids: tuple[str, ...]
    options: tuple[str, ...] = ()


def session_key(turns: Sequence[Turn]) -> str:
    """Hex SHA-256 of the turns, rendered as JSON so that no content can imitate a turn boundary."""
    rendered = json.dumps([[turn.role, turn.content] for turn in turns], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(rendered.encode("utf-8", errors="surrogatepass")).hexdigest()


def render_turns(turns: Iterable[Turn]) -> str:
    """The text that every model reads: one `role: content` line per turn."""
    return "\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def check_haystack(haystack: Haystack) -> None:
    """Refuse what no later stage could use.

    Raises:
        DataError: no sessions, a repeated session id, a session without turns, a turn without role, or text that is not
            valid Unicode.
    """
    where = f"haystack {haystack.haystack_id!r}"
    if not haystack.haystack_id:
        raise DataError("a haystack has an empty id", field="haystack_id", fix="name it, or leave the field out")
    _check_unicode(haystack.haystack_id, where, "haystack_id")
    if not haystack.sessions:
        raise DataError(
            f"{where}: no sessions", field="sessions", fix="give it one session with turns, or leave it out"
        )
    seen: set[str] = set()
    for session in haystack.sessions:
        if not session.session_id:
            raise DataError(f"{where}: a session has an empty id", field="session_id", fix="name it")
        if session.session_id in seen:
            raise DataError(
                f"{where}: session id {session.session_id!r} appears twice; ids must be unique",
                field="session_id",
                fix="rename one of the two",
            )
        seen.add(session.session_id)
        _check_unicode(session.session_id, where, "session_id")
        _check_unicode(session.date, where, "date")
        if not session.turns:
            raise DataError(f"{where}: session {session.session_id!r} has no turns", field="turns", fix="leave it out")
        for number, turn in enumerate(session.turns):
            place = f"{where}: session {session.session_id!r}: turn {number}"
            if not turn.role:
                raise DataError(f"{place}: empty role", field="role", fix="name who speaks, for example user")
            _check_unicode(turn.role, place, "role")
            _check_unicode(turn.content, place, "content")


def check_question(question: Question, session_ids: frozenset[str]) -> None:
    """Refuse a question that cannot be asked or whose gold sessions do not exist in its haystack.

    Raises:
        DataError: empty id or text, unknown split, a category that results need the name of, a gold session id outside
            `session_ids`, options that do not hold the answer, or text that is not valid Unicode.
    """
    where = f"question {question.question_id!r}"
    if not question.question_id:
        raise DataError("a question has an empty id", field="question_id", fix="name it, or leave the field out")
    if not question.question.strip():
        raise DataError(f"{where}: empty question text", field="question", fix="write the question, or leave it out")
    if question.split not in SPLITS:
        raise DataError(
            f"{where}: split is {question.split!r}, allowed: {', '.join(SPLITS)}",
            field="split",
            fix=f"write {' or '.join(SPLITS)}",
        )
    for name in ("question_id", "question", "question_date", "answer", "category"):
        _check_unicode(getattr(question, name), where, name)
    for option in question.options:
        _check_unicode(option, where, "options")
    if question.category == ALL_CATEGORIES:
        raise DataError(
            f"{where}: the category {ALL_CATEGORIES!r} stands for all questions in the results",
            field="category",
            fix="give it another name",
        )
    if question.options and question.answer not in question.options:
        raise DataError(
            f"{where}: the answer is none of the {len(question.options)} options",
            field="options",
            fix="add it to the options, or correct the answer",
        )
    if unknown := [name for name in question.answer_session_ids if name not in session_ids]:
        raise DataError(
            f"{where}: gold session(s) {unknown} are not in haystack {question.haystack_id!r}",
            field="answer_session_ids",
            fix="name sessions of this haystack, or leave the list empty",
        )


def _check_unicode(text: str, where: str, field: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: {field} is not valid Unicode ({error.reason} at character {error.start})",
            field=field,
            fix="remove the half of a surrogate pair there",
        ) from error

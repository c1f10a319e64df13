"""The ranker's prompt: numbered sessions first, the question last, so that questions to them share a prefix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from memsifter.llm.prompts import (
    SESSION_SEPARATOR,
    UNKNOWN_DATE,
    Message,
    MessagesPrompt,
    chat_messages,
    fill,
    load_prompt,
    placeholders,
    plain_text,
)


class RankerPrompt(MessagesPrompt):
    """A ranker's prompt file. It must ask for the format that `memsifter.ranking.parse` reads.

    Attributes:
        base: the number of the first session.
        system: the system message; empty for models that have none.
        session: how one session is shown: `{number}`, `{text}`, optionally `{date}`.
        user: the user message: `{sessions}` and `{question}`, optionally `{question_date}` and `{num_sessions}`.
    """

    base: Annotated[int, Field(ge=0)]
    system: Annotated[str, placeholders()]
    session: Annotated[str, placeholders("number", "text", optional=("date",))]
    user: Annotated[str, placeholders("sessions", "question", optional=("question_date", "num_sessions"))]


def load_ranker_prompt(path: Path) -> RankerPrompt:
    """Read a ranker's prompt file.

    Raises:
        MemSifterError: the file or one of its fields is missing or wrong.
    """
    return load_prompt(path, RankerPrompt)


def render_session(prompt: RankerPrompt, position: int, date: str, text: str) -> str:
    """One session as the ranker sees it; `position` counts from 0."""
    values = {
        "number": str(prompt.base + position),
        "date": plain_text(date) or UNKNOWN_DATE,
        "text": plain_text(text),
    }
    return fill(prompt.session, values)


def render_messages(
    prompt: RankerPrompt, question: str, question_date: str, sessions: Sequence[tuple[str, str]]
) -> list[Message]:
    """The chat messages for one question.

    Args:
        prompt: the prompt file.
        question: the question's text.
        question_date: when it is asked, as the source writes it; may be empty.
        sessions: (date, text) of each candidate, in the order in which they are numbered.
    """
    shown = [render_session(prompt, position, date, text) for position, (date, text) in enumerate(sessions)]
    values = {
        "sessions": SESSION_SEPARATOR.join(shown),
        "question": plain_text(question),
        "question_date": plain_text(question_date) or UNKNOWN_DATE,
        "num_sessions": str(len(sessions)),
    }
    return chat_messages(prompt.system, fill(prompt.user, values))

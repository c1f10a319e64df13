"""The ranker's prompt: numbered sessions first, the question last, so that questions to them share a prefix."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from memsifter.llm.prompts import SESSION_SEPARATOR, UNKNOWN_DATE, Message, PromptFile, fill, load_prompt, placeholders

_EXAMPLE = "<think>Both mention the trip.</think><ranking>2,1</ranking>"


def _check_pattern(pattern: str) -> str:
    try:
        matches = re.fullmatch(pattern, _EXAMPLE)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    if not matches:
        raise ValueError(f"does not match {_EXAMPLE}, the format that memsifter.ranking.parse reads")
    return pattern


class RankerPrompt(PromptFile):
    """A ranker's prompt file.

    Attributes:
        base: the number of the first session.
        system: the system message; empty for models that have none.
        session: how one session is shown: `{number}`, `{text}`, optionally `{date}`.
        user: the user message: `{sessions}` and `{question}`, optionally `{question_date}` and `{num_sessions}`.
        output_pattern: regular expression of a well-formed output, for readers of the file and of the outputs.
    """

    base: Annotated[int, Field(ge=0)]
    system: Annotated[str, placeholders()]
    session: Annotated[str, placeholders("number", "text", optional=("date",))]
    user: Annotated[str, placeholders("sessions", "question", optional=("question_date", "num_sessions"))]
    output_pattern: Annotated[str, AfterValidator(_check_pattern)]


def load_ranker_prompt(path: Path) -> RankerPrompt:
    """Read a ranker's prompt file.

    Raises:
        MemSifterError: the file or one of its fields is missing or wrong.
    """
    return load_prompt(path, RankerPrompt)


def render_session(prompt: RankerPrompt, position: int, date: str, text: str) -> str:
    """One session as the ranker sees it; `position` counts from 0."""
    number = str(prompt.base + position)
    return fill(prompt.session, {"number": number, "date": date or UNKNOWN_DATE, "text": text})


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
        "question": question,
        "question_date": question_date or UNKNOWN_DATE,
        "num_sessions": str(len(sessions)),
    }
    user = Message(role="user", content=fill(prompt.user, values))
    return [Message(role="system", content=prompt.system), user] if prompt.system else [user]

"""Prompts of the working LLM and of the judge of its answers."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator

from memsifter.llm.prompts import (
    UNKNOWN_DATE,
    Message,
    MessagesPrompt,
    SessionTemplate,
    chat_messages,
    fill,
    load_prompt,
    placeholders,
    plain_text,
)

Form = Literal["chat", "completion"]
_THINK_END = re.compile(r"</think>", re.IGNORECASE)
_THINK = re.compile(r"<think>", re.IGNORECASE)
_ANSWER = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_END = re.compile(r"</answer>", re.IGNORECASE)


class ChatPrompt(MessagesPrompt):
    """A working LLM's prompt file.

    Attributes:
        form: "chat" is sent as messages, "completion" as one raw text that the model continues.
        system: the system message; must be empty in the completion form.
        session: how one session is shown: `{text}`, optionally `{date}`.
        empty: what stands for the sessions when none is given.
        user: the user message, or the whole text in the completion form: `{sessions}` and `{question}`, optionally
            `{question_date}`.
    """

    form: Form
    system: Annotated[str, placeholders()] = ""
    session: SessionTemplate
    empty: Annotated[str, placeholders()]
    user: Annotated[str, placeholders("sessions", "question", optional=("question_date",))]

    @model_validator(mode="after")
    def _completion_has_no_system(self) -> "ChatPrompt":
        if self.form == "completion" and self.system:
            raise ValueError("system: a completion has no system message; put the text into user")
        return self


class JudgePrompt(MessagesPrompt):
    """A judge's prompt file; `user` holds `{question}`, `{answer}` (the reference) and `{prediction}`."""

    system: Annotated[str, placeholders()] = ""
    user: Annotated[str, placeholders("question", "answer", "prediction")]


def load_chat_prompt(path: Path) -> ChatPrompt:
    """Read a working LLM's prompt file.

    Raises:
        MemSifterError: the file or a field is missing or wrong.
    """
    return load_prompt(path, ChatPrompt)


def load_judge_prompt(path: Path) -> JudgePrompt:
    """Read a judge's prompt file.

    Raises:
        MemSifterError: the file or a field is missing or wrong.
    """
    return load_prompt(path, JudgePrompt)


def render_prompt(prompt: ChatPrompt, question: str, question_date: str, sessions: str) -> str | list[Message]:
    """The request for one question: chat messages, or the raw text in the completion form.

    Args:
        prompt: the prompt file.
        question: the question's text.
        question_date: when it is asked, as the source writes it; may be empty.
        sessions: the rendered sessions (`memsifter.chat.context.Context.text`); "" if none is given.
    """
    values = {
        "sessions": sessions or prompt.empty,
        "question": plain_text(question),
        "question_date": plain_text(question_date) or UNKNOWN_DATE,
    }
    text = fill(prompt.user, values)
    return text if prompt.form == "completion" else chat_messages(prompt.system, text)


def render_judge(prompt: JudgePrompt, question: str, answer: str, prediction: str) -> list[Message]:
    """The judge's messages for one predicted answer."""
    shown = {"question": question, "answer": answer, "prediction": prediction}
    values = {name: plain_text(text) for name, text in shown.items()}
    return chat_messages(prompt.system, fill(prompt.user, values))


def drop_thoughts(text: str) -> str:
    """The text without everything up to the last `</think>`, and without an unfinished `<think>…`."""
    return _THINK.split(_THINK_END.split(text)[-1])[0]


def extract_answer(text: str, form: Form = "chat") -> str:
    """The answer without thoughts and tags.

    Everything up to the last `</think>` is dropped. Of what is left, the last `<answer>…</answer>` counts; it may lack
    its close tag. Without an answer tag, an unfinished `<think>…` is dropped, and the answer is the whole text in the
    chat form and the first line in the completion form, which would otherwise go on to invent the next example.

    Returns:
        The answer, stripped; "" if the model gave none.
    """
    said = _THINK_END.split(text)[-1]
    tagged = _ANSWER.split(said)
    if len(tagged) > 1:
        return _ANSWER_END.split(tagged[-1])[0].strip()
    untagged = _ANSWER_END.split(drop_thoughts(said))[0].strip()
    return untagged.partition("\n")[0].strip() if form == "completion" else untagged

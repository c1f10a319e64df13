"""The likelihood's prompt file. It is checked before a run starts, which must not wait for what reading imports."""

from pathlib import Path
from typing import Annotated

from memsifter.llm.prompts import PromptFile, load_prompt, placeholders


class LikelihoodPrompt(PromptFile):
    """The prompt file of the likelihood score: a raw text that the model would continue with the question.

    Attributes:
        context: what stands before the question: `{text}` (the excerpt), optionally `{date}` of the session and
            `{question_date}`.
        question: what is scored: `{question}`, usually with a space before it.
    """

    context: Annotated[str, placeholders("text", optional=("date", "question_date"))]
    question: Annotated[str, placeholders("question")]


def load_likelihood_prompt(path: Path) -> LikelihoodPrompt:
    """Read a prompt file of the likelihood score.

    Raises:
        MemSifterError: the file or a field is missing or wrong.
    """
    return load_prompt(path, LikelihoodPrompt)

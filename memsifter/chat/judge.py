"""An LLM judge: does an answer agree with the reference?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from memsifter.chat.endpoint import ChatRequest, Endpoint, Sampling
from memsifter.chat.prompt import JudgePrompt, extract_verdict, load_judge_prompt, render_judge
from memsifter.chat.shared_client import ClientSettings, ask_all
from memsifter.corpus.sessions import Question
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import prompt_path
from memsifter.params import JudgeParams

_SECTION = "evaluate.judge"
_VERDICT_TOKENS = 2048  # room for a model that thinks before it says yes or no
_SAMPLING = Sampling(max_tokens=_VERDICT_TOKENS, temperature=0.0)


def judge_answers(
    questions: Sequence[Question], answers: Mapping[str, str], params: JudgeParams, cache: Path
) -> dict[str, float]:
    """Verdicts by question id: 1.0 where the judge says yes, 0.0 where it says no.

    Args:
        questions: with their reference answers.
        answers: the working LLM's, by question id.
        params: of the judge.
        cache: folder of the answers that are known.

    Raises:
        MemSifterError: the endpoint fails, or the judge says neither; a missing verdict is never counted as a no.
    """
    prompt = load_judge_prompt(prompt_path("judge"))
    requests = [judge_request(prompt, item.question, item.answer, answers[item.question_id]) for item in questions]
    replies = ask_all(requests, judge_client(params, _SECTION, cache))
    return {
        question.question_id: read_verdict(reply.text, params.model, question.question_id, _SECTION)
        for question, reply in zip(questions, replies, strict=True)
    }


def judge_client(params: JudgeParams, section: str, cache: Path) -> ClientSettings:
    """How to ask the judge; errors name `section` of the parameters."""
    revision = Endpoint(params.base_url, params.model, params.timeout_s).shown_url
    return ClientSettings(section=section, revision=revision, cache=cache, **params.model_dump())


def judge_request(prompt: JudgePrompt, question: str, answer: str, prediction: str) -> ChatRequest:
    """What the judge is asked about one prediction; `answer` is the reference."""
    return ChatRequest(render_judge(prompt, question, answer, prediction), _SAMPLING)


def read_verdict(text: str, model: str, question_id: str, section: str) -> float:
    """1.0 for a yes, 0.0 for a no.

    Raises:
        MemSifterError: the judge said neither; the message names the section of the parameters and the question.
    """
    verdict = extract_verdict(text)
    if verdict is None:
        raise MemSifterError(
            f"{section}: {model} said neither yes nor no about question {question_id!r}: {text[:100]!r}; "
            "use another judge"
        )
    return float(verdict)

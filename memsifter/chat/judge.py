"""An LLM judge: does an answer agree with the reference?"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from memsifter.chat.endpoint import ChatRequest, Endpoint, Sampling
from memsifter.chat.prompt import JudgePrompt, drop_thoughts, load_judge_prompt, render_judge
from memsifter.chat.reply import Answer, Refusal, RefusedRequestError
from memsifter.chat.shared_client import ClientSettings, ask_all, client_settings
from memsifter.corpus.sessions import Question
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import prompt_path
from memsifter.params import JudgeParams

logger = logging.getLogger(__name__)

_SECTION = "evaluate.judge"
_VERDICT = re.compile(r"(?:verdict\W+)?(yes|no)", re.IGNORECASE)
_DECORATION = " \t*_`#>.!\"'[](){}"


def judge_answers(
    questions: Sequence[Question], answers: Mapping[str, str | None], params: JudgeParams, cache: Path
) -> dict[str, float]:
    """Verdicts by question id: 1.0 where the judge says yes, 0.0 where it says no.

    Args:
        questions: with their reference answers.
        answers: the working LLM's, by question id; None, where it refused, is not judged.
        params: of the judge.
        cache: folder of the answers that are known.

    Returns:
        A verdict for every answer; with `on_refusal: leave_out`, none where the judge gives no clear one.

    Raises:
        MemSifterError: the endpoint fails, or a verdict is unclear; a missing verdict is never counted as a no.
    """
    prompt, sampling = load_judge_prompt(prompt_path("judge")), judge_sampling(params)
    requests = [
        judge_request(prompt, question.question_id, question.question, question.answer, answer, sampling)
        for question in questions
        if (answer := answers[question.question_id]) is not None
    ]
    verdicts, unclear = {}, {}
    for request, reply in zip(requests, ask_all(requests, judge_client(params, _SECTION, cache)), strict=True):
        try:
            verdicts[request.question_id] = read_verdict(reply, request.question_id, _SECTION)
        except RefusedRequestError as error:
            unclear[request.question_id] = str(error)
    if unclear and (params.on_refusal == "fail" or not verdicts):
        raise MemSifterError(
            f"{_SECTION}: {len(unclear)} of {len(requests)} answers have no verdict ({', '.join(map(repr, unclear))}); "
            f"first: {next(iter(unclear.values()))}; use another judge, or set {_SECTION}.on_refusal=leave_out"
        )
    for reason in unclear.values():
        logger.warning("no verdict: %s", reason)
    return verdicts


def judge_client(params: JudgeParams, section: str, cache: Path) -> ClientSettings:
    """How to reach the judge; errors name `section` of the parameters."""
    revision = Endpoint(params.base_url, params.model, params.timeout_s).shown_url
    return client_settings(params, params.base_url, revision, section, cache)


def judge_sampling(params: JudgeParams) -> Sampling:
    """How the judge decodes."""
    return Sampling(params.max_tokens, params.temperature, params.top_p)


def judge_request(
    prompt: JudgePrompt, question_id: str, question: str, answer: str, prediction: str, sampling: Sampling
) -> ChatRequest:
    """The request for the verdict on one prediction; `answer` is the reference."""
    return ChatRequest(render_judge(prompt, question, answer, prediction), sampling, question_id)


def read_verdict(reply: Answer | Refusal, question_id: str, section: str) -> float:
    """1.0 for a yes, 0.0 for a no, read from the last line of a whole reply.

    Raises:
        RefusedRequestError: the judge refused, its reply was cut, or the last line holds anything beside a verdict; the
            message names the section of the parameters and the question.
    """
    where = f"{section}: question {question_id!r}"
    if isinstance(reply, Refusal):
        raise RefusedRequestError(f"{where}: {reply.reason}")
    if reply.finish_reason == "length":
        raise RefusedRequestError(f"{where}: the judge's reply was cut; raise {section}.max_tokens")
    verdict = parse_verdict(reply.text)
    if verdict is None:
        raise RefusedRequestError(f"{where}: the last line is not a verdict: {reply.text[-100:]!r}")
    return float(verdict)


def parse_verdict(text: str) -> bool | None:
    """A judge's verdict: the last line is "Verdict: yes" or "Verdict: no", or the one word; None for all else.

    Another verdict on an earlier line makes it unclear. Thoughts do not count.
    """
    lines = [line.strip(_DECORATION) for line in drop_thoughts(text).splitlines()]
    verdicts = [match[1].lower() if (match := _VERDICT.fullmatch(line)) else None for line in lines if line]
    if not verdicts or verdicts[-1] is None or len({*verdicts} - {None}) > 1:
        return None
    return verdicts[-1] == "yes"

"""The score of one answer of the working LLM, within [0, 1]."""

from collections.abc import Awaitable, Callable

from memsifter.chat.client_settings import ClientSettings
from memsifter.chat.extract import extract_answer
from memsifter.chat.judge import judge_request, read_verdict
from memsifter.chat.prompt import Form
from memsifter.chat.request import Answer, ChatRequest
from memsifter.errors import MemSifterError
from memsifter.metrics.answers import bleu, exact_match, rouge_l, token_f1
from memsifter.params.training import Metric
from memsifter.reward.sample import RewardSample
from memsifter.reward.settings import RewardSettings

Ask = Callable[[ClientSettings, ChatRequest], Awaitable[Answer]]
"""Gets one request answered by the model that the settings name."""

_TEXT_METRICS: dict[Metric, Callable[[str, str], float]] = {
    "token_f1": token_f1,
    "exact_match": exact_match,
    "bleu": bleu,
    "rouge_l": rouge_l,
}


async def score_answer(
    text: str,
    sample: RewardSample,
    form: Form,
    settings: RewardSettings,
    ask: Ask,
) -> float:
    """Score what the working LLM wrote, by `reward.metric`, against the sample's answer.

    Args:
        text: the whole output.
        sample: the question with its reference answer.
        form: of the working LLM's prompt.
        settings: of the run.
        ask: asks the judge.

    Raises:
        MemSifterError: the judge gives no answer or no verdict; a missing verdict is never a no.
    """
    answer = extract_answer(text, form)
    if settings.reward.metric in _TEXT_METRICS:
        return _TEXT_METRICS[settings.reward.metric](answer, sample.answer)
    if settings.judge is None or settings.judge_prompt is None:
        raise MemSifterError("reward.metric is judge, but the run has no judge; set reward.judge")
    reply = await ask(settings.judge, judge_request(settings.judge_prompt, sample.question, sample.answer, answer))
    return read_verdict(reply.text, settings.judge.model, sample.question_id, settings.judge.section)

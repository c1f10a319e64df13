"""The reward of one rollout: the ranking is read, the working LLM answers at every tier, and its answers are scored."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from memsifter.chat.context import render_sessions
from memsifter.chat.endpoint import ChatRequest, Sampling
from memsifter.chat.judge import judge_request, read_verdict
from memsifter.chat.prompt import ChatPrompt, Form, extract_answer, render_prompt
from memsifter.chat.reply import Answer, RefusedRequestError
from memsifter.chat.shared_client import ClientSettings
from memsifter.errors import MemSifterError
from memsifter.llm.context import take_fitting
from memsifter.metrics.answers import bleu, exact_match, rouge_l, token_f1
from memsifter.params.training import ContextOrder, Metric
from memsifter.ranking.parse import Status, complete_ranking, parse_ranking
from memsifter.reward.sample import RewardSample
from memsifter.reward.settings import RewardSettings
from memsifter.reward.tiers import hybrid_reward, outcome_reward, retrieval_reward, tiers

logger = logging.getLogger(__name__)

_TEXT_METRICS: dict[Metric, Callable[[str, str], float]] = {
    "token_f1": token_f1,
    "exact_match": exact_match,
    "bleu": bleu,
    "rouge_l": rouge_l,
}
Ask = Callable[[ClientSettings, ChatRequest], Awaitable[Answer]]
"""Sends a request to the model that the settings name."""


@dataclass(frozen=True, slots=True)
class RolloutReward:
    """The reward of one rollout and what it consists of.

    Attributes:
        reward: alpha * answer_part + beta * retrieval_part; 0 for a malformed output.
        answer_part: the outcome reward R_ans.
        retrieval_part: the retrieval reward R_ret.
        scores: of the working LLM's answers by tier, tier 0 included; all 0 where it answers nothing: for a malformed
            output, and where alpha is 0.
        status: how the output could be read.
        named: how many candidates the output named.
        requests: how many were sent for this rollout.
        cache_hits: tiers whose answer was known, or was given to a sibling at the same time.
        left_out: True if the working LLM or the judge refused. Reward and answer part are then 0 and mean nothing: the
            sampler replaces the question (`memsifter.training.verl.sampler`).
    """

    reward: float
    answer_part: float
    retrieval_part: float
    scores: dict[int, float]
    status: Status
    named: int
    requests: int = 0
    cache_hits: int = 0
    left_out: bool = False

    def components(self) -> dict[str, float]:
        """Flat numbers for logging, the reward left out; the keys depend on K alone."""
        return {
            "answer_part": self.answer_part,
            "retrieval_part": self.retrieval_part,
            **{f"s_{tier}": score for tier, score in self.scores.items()},
            **{f"parse_{status}": float(self.status == status) for status in ("ok", "repaired", "failed")},
            "named": float(self.named),
            "working_llm_requests": float(self.requests),
            "working_llm_cache_hits": float(self.cache_hits),
            "left_out": float(self.left_out),
        }


async def score_rollout(response: str, sample: RewardSample, settings: RewardSettings, ask: Ask) -> RolloutReward:
    """Read the ranking, let the working LLM answer at every tier, and compute the reward.

    Args:
        response: what the ranker wrote.
        sample: the question and its candidates.
        settings: of the run.
        ask: reaches the working LLM, and the judge where `reward.metric` is judge.

    Raises:
        MemSifterError: the working LLM or the judge gave no answer, and the question may not be left out. That is never
            scored as a bad ranking.
        ValueError: beta is above 0 and the sample has no gold.
    """
    max_sessions = settings.reward.max_sessions
    output = settings.opened_thought + response
    parsed = parse_ranking(output, len(sample.sessions), settings.first_number[sample.kind])
    malformed = parsed.status == "failed" or (parsed.status == "repaired" and not settings.reward.accept_repaired)
    zeros = dict.fromkeys([0, *tiers(max_sessions)], 0.0)
    nothing = RolloutReward(0.0, 0.0, 0.0, zeros, parsed.status, len(parsed.indices))
    if malformed:
        return nothing
    ranking = complete_ranking(parsed.indices, sample.coarse_order)
    retrieval_part = retrieval_reward(sample.gold, ranking, max_sessions) if sample.gold or settings.beta else 0.0
    scores, sent, hits = (zeros, 0, 0)
    if settings.alpha:
        try:
            scores, sent, hits = await _score_tiers(ranking, sample, settings, ask)
        except _LeftOutError as error:
            logger.warning("question %r is left out: %s", sample.question_id, error)
            return replace(nothing, retrieval_part=retrieval_part, left_out=True)
    answer_part = outcome_reward(scores)
    reward = hybrid_reward(answer_part, retrieval_part, settings.alpha, settings.beta)
    return RolloutReward(reward, answer_part, retrieval_part, scores, parsed.status, len(parsed.indices), sent, hits)


def tier_requests(
    sample: RewardSample,
    ranking: Sequence[int],
    prompt: ChatPrompt,
    sampling: Sampling,
    max_sessions: int,
    order: ContextOrder,
) -> dict[int, ChatRequest]:
    """The request of every tier, tier 0 without sessions included.

    Tiers whose sessions are the same give equal requests: where the ranking is shorter than a tier, where a session
    does not fit the context, or, in chronological order, whatever their ranks.

    Args:
        sample: the question and its candidates.
        ranking: candidates, best first.
        prompt: the working LLM's prompt file.
        sampling: how it decodes.
        max_sessions: K.
        order: of the sessions within a tier.
    """
    requests = {}
    for tier in [0, *tiers(max_sessions)]:
        shown = ranking[:tier]
        taken = take_fitting([sample.session_tokens[candidate] for candidate in shown], sample.context_tokens)
        candidates = [shown[place] for place in taken]
        if order == "chronological":
            candidates.sort(key=lambda candidate: sample.positions[candidate])
        text = render_sessions(prompt, ((sample.dates[each], sample.sessions[each]) for each in candidates))
        rendered = render_prompt(prompt, sample.question, sample.question_date, text)
        requests[tier] = ChatRequest(rendered, sampling, sample.question_id)
    return requests


async def score_answer(text: str, sample: RewardSample, form: Form, settings: RewardSettings, ask: Ask) -> float:
    """Score an answer of the working LLM, by `reward.metric`, against the sample's reference answer.

    Args:
        text: the whole output.
        sample: the question with its reference answer.
        form: of the working LLM's prompt.
        settings: of the run.
        ask: reaches the judge.

    Raises:
        RefusedRequestError: the judge gives no clear verdict; that is never a no.
        MemSifterError: the judge's endpoint fails.
    """
    answer = extract_answer(text, form)
    if settings.reward.metric in _TEXT_METRICS:
        return _TEXT_METRICS[settings.reward.metric](answer, sample.answer)
    judge = settings.judge
    if judge is None or settings.judge_prompt is None or settings.judge_sampling is None:
        raise MemSifterError("reward.metric is judge, but the run has no judge; set reward.judge")
    request = judge_request(
        settings.judge_prompt, sample.question_id, sample.question, sample.answer, answer, settings.judge_sampling
    )
    return read_verdict(await ask(judge, request), sample.question_id, judge.section)


class _LeftOutError(Exception):
    """The working LLM or the judge refused, and the parameters allow to leave the question out."""


@contextmanager
def _leaving_out(client: ClientSettings | None) -> Iterator[None]:
    try:
        yield
    except RefusedRequestError as error:
        if client is not None and client.on_refusal == "leave_out":
            raise _LeftOutError(str(error)) from None
        raise


async def _score_tiers(
    ranking: list[int], sample: RewardSample, settings: RewardSettings, ask: Ask
) -> tuple[dict[int, float], int, int]:
    """Scores by tier, requests sent, and tiers answered without one. Equal requests of tiers are one."""
    prompt = settings.prompts[sample.kind]
    requests = tier_requests(
        sample, ranking, prompt, settings.sampling, settings.reward.max_sessions, settings.reward.context_order
    )
    prompts = {tier: repr(request.prompt) for tier, request in requests.items()}
    distinct = {prompts[tier]: request for tier, request in requests.items()}
    with _leaving_out(settings.working_llm):
        replies = await asyncio.gather(*(ask(settings.working_llm, request) for request in distinct.values()))
    answers = dict(zip(distinct, replies, strict=True))
    texts = {tier: answers[key].text for tier, key in prompts.items()}
    scored = {}
    with _leaving_out(settings.judge):
        for text in dict.fromkeys(texts.values()):
            scored[text] = await score_answer(text, sample, prompt.form, settings, ask)
    sent = sum(not answer.cached for answer in answers.values())
    return {tier: scored[text] for tier, text in texts.items()}, sent, len(requests) - sent

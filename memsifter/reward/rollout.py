"""What the working LLM is asked for one ranking: a request per tier."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from memsifter.chat.context import render_sessions
from memsifter.chat.endpoint import Answer, ChatRequest, Sampling
from memsifter.chat.judge import judge_request, read_verdict
from memsifter.chat.prompt import ChatPrompt, Form, extract_answer, render_prompt
from memsifter.chat.shared_client import ClientSettings
from memsifter.errors import MemSifterError
from memsifter.llm.context import take_fitting
from memsifter.metrics.answers import bleu, exact_match, rouge_l, token_f1
from memsifter.params.training import ContextOrder, Metric
from memsifter.ranking.parse import Status, complete_ranking, parse_ranking
from memsifter.reward.sample import RewardSample
from memsifter.reward.settings import RewardSettings
from memsifter.reward.tiers import hybrid_reward, outcome_reward, retrieval_reward, tiers


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
        requests[tier] = ChatRequest(render_prompt(prompt, sample.question, sample.question_date, text), sampling)
    return requests


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


@dataclass(frozen=True, slots=True)
class RolloutReward:
    """What one rollout is paid.

    Attributes:
        reward: alpha * answer_part + beta * retrieval_part; 0 for a malformed output.
        answer_part: the outcome reward R_ans.
        retrieval_part: the retrieval reward R_ret.
        scores: the working LLM's score by tier, tier 0 included; all 0 for a malformed output, about which nothing is
            asked, and where alpha is 0.
        status: how the output could be read.
        named: how many candidates the output named.
        calls: requests that were sent for this rollout.
        cache_hits: requests of tiers that were answered before, or for a sibling at the same time.
    """

    reward: float
    answer_part: float
    retrieval_part: float
    scores: dict[int, float]
    status: Status
    named: int
    calls: int
    cache_hits: int

    def components(self) -> dict[str, float]:
        """Flat numbers for logging, the reward left out; the keys depend on K alone."""
        return {
            "answer_part": self.answer_part,
            "retrieval_part": self.retrieval_part,
            **{f"s_{tier}": score for tier, score in self.scores.items()},
            **{f"parse_{status}": float(self.status == status) for status in ("ok", "repaired", "failed")},
            "named": float(self.named),
            "working_llm_calls": float(self.calls),
            "working_llm_cache_hits": float(self.cache_hits),
        }


async def score_rollout(response: str, sample: RewardSample, settings: RewardSettings, ask: Ask) -> RolloutReward:
    """Read the ranking, let the working LLM answer at every tier, and compute the reward.

    Args:
        response: what the ranker wrote.
        sample: the question and its candidates.
        settings: of the run.
        ask: asks the working LLM, and the judge where `reward.metric` is judge.

    Raises:
        MemSifterError: the working LLM or the judge gave no answer. That is never paid as a bad ranking.
        ValueError: beta is above 0 and the sample has no gold.
    """
    max_sessions = settings.reward.max_sessions
    output = settings.opened_thought + response
    parsed = parse_ranking(output, len(sample.sessions), settings.first_number[sample.kind])
    malformed = parsed.status == "failed" or (parsed.status == "repaired" and not settings.reward.accept_repaired)
    nothing = dict.fromkeys([0, *tiers(max_sessions)], 0.0)
    if malformed:
        return RolloutReward(0.0, 0.0, 0.0, nothing, parsed.status, len(parsed.indices), 0, 0)
    ranking = complete_ranking(parsed.indices, sample.coarse_order)
    retrieval_part = retrieval_reward(sample.gold, ranking, max_sessions) if sample.gold or settings.beta else 0.0
    scores, calls, hits = (nothing, 0, 0)
    if settings.alpha:
        scores, calls, hits = await _score_tiers(ranking, sample, settings, ask)
    answer_part = outcome_reward(scores)
    reward = hybrid_reward(answer_part, retrieval_part, settings.alpha, settings.beta)
    return RolloutReward(reward, answer_part, retrieval_part, scores, parsed.status, len(parsed.indices), calls, hits)


async def _score_tiers(
    ranking: list[int], sample: RewardSample, settings: RewardSettings, ask: Ask
) -> tuple[dict[int, float], int, int]:
    """Scores by tier, calls made and requests answered from the cache. Equal requests of tiers are one."""
    prompt = settings.prompts[sample.kind]
    requests = tier_requests(
        sample, ranking, prompt, settings.sampling, settings.reward.max_sessions, settings.reward.context_order
    )
    prompts = {tier: repr(request.prompt) for tier, request in requests.items()}
    distinct = {prompts[tier]: request for tier, request in requests.items()}
    replies = await asyncio.gather(*(ask(settings.working_llm, request) for request in distinct.values()))
    answers = dict(zip(distinct, replies, strict=True))
    texts = {tier: answers[key].text for tier, key in prompts.items()}
    scored = {}
    for text in dict.fromkeys(texts.values()):
        scored[text] = await score_answer(text, sample, prompt.form, settings, ask)
    calls = sum(not answer.cached for answer in answers.values())
    return {tier: scored[text] for tier, text in texts.items()}, calls, len(requests) - calls

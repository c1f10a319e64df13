"""The reward of one rollout, with all that led to it."""

import asyncio
from dataclasses import dataclass

from memsifter.ranking.parse import Status, parse_ranking
from memsifter.reward.answer_score import Ask, score_answer
from memsifter.reward.hybrid import hybrid_reward, retrieval_reward
from memsifter.reward.requests import complete_ranking, tier_requests
from memsifter.reward.sample import RewardSample
from memsifter.reward.settings import RewardSettings
from memsifter.reward.tiers import outcome_reward, tiers


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
    top_k = settings.reward.top_k
    parsed = parse_ranking(response, len(sample.sessions), settings.first_number[sample.kind])
    malformed = parsed.status == "failed" or (parsed.status == "repaired" and not settings.reward.accept_repaired)
    nothing = dict.fromkeys([0, *tiers(top_k)], 0.0)
    if malformed:
        return RolloutReward(0.0, 0.0, 0.0, nothing, parsed.status, len(parsed.indices), 0, 0)
    ranking = complete_ranking(parsed.indices, sample.coarse_order)
    retrieval_part = retrieval_reward(sample.gold, ranking, top_k) if sample.gold or settings.beta else 0.0
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
        sample, ranking, prompt, settings.sampling, settings.reward.top_k, settings.reward.context_order
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

"""What the working LLM is asked for one ranking: a request per tier."""

from collections.abc import Sequence

from memsifter.chat.context import render_sessions, take_sessions
from memsifter.chat.prompt import ChatPrompt, render_prompt
from memsifter.chat.request import ChatRequest, Sampling
from memsifter.params.training import ContextOrder
from memsifter.reward.sample import RewardSample
from memsifter.reward.tiers import tiers


def complete_ranking(indices: Sequence[int], coarse_order: Sequence[int]) -> list[int]:
    """All candidates: those that the ranker named, then the others in coarse order, as the rank stage does it."""
    named = set(indices)
    return [*indices, *(candidate for candidate in coarse_order if candidate not in named)]


def tier_requests(
    sample: RewardSample,
    ranking: Sequence[int],
    prompt: ChatPrompt,
    sampling: Sampling,
    top_k: int,
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
        top_k: K.
        order: of the sessions within a tier.
    """
    requests = {}
    for tier in [0, *tiers(top_k)]:
        shown = ranking[:tier]
        taken = take_sessions([sample.session_tokens[candidate] for candidate in shown], sample.context_tokens)
        candidates = [shown[place] for place in taken]
        if order == "chronological":
            candidates.sort(key=lambda candidate: sample.positions[candidate])
        text = render_sessions(prompt, ((sample.dates[each], sample.sessions[each]) for each in candidates))
        requests[tier] = ChatRequest(render_prompt(prompt, sample.question, sample.question_date, text), sampling)
    return requests

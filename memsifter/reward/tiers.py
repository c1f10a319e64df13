"""The formulas of the reward: tiers of a ranking, outcome reward (arXiv 2603.03379), retrieval reward, their sum.

K sessions are ranked. At each tier k the working LLM answers from the top k sessions and scores s_k; s_0 is its score
without any session. A tier is discounted by C(k) = 1 / log2(k + 1).
"""

import math
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise

from memsifter.metrics.retrieval import ndcg


def tiers(k: int) -> list[int]:
    """The tiers for K = `k`: the Fibonacci numbers 1, 2, 3, 5, 8, … below `k`, then `k` itself.

    Raises:
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; at least one session must be ranked")
    numbers = []
    current, following = 1, 2
    while current < k:
        numbers.append(current)
        current, following = following, current + following
    return [*numbers, k]


def tier_weights(k: int) -> dict[int, float]:
    """The weight of each tier's score in the outcome reward: w_n = C(k_n) - C(k_{n+1}), and C(k_N) for the last.

    All weights are positive and they sum to C(1) = 1.

    Raises:
        ValueError: `k` is below 1.
    """
    discounts = [_discount(tier) for tier in tiers(k)]
    return {
        tier: discount - following
        for tier, discount, following in zip(tiers(k), discounts, [*discounts[1:], 0.0], strict=True)
    }


def outcome_reward(scores: Mapping[int, float]) -> float:
    """R_ans = Σ_n C(k_n) · (s_{k_n} - s_{k_{n-1}}) with s_{k_0} = s_0, equal to Σ_n w_n · s_{k_n} - s_0.

    The first form is computed, so that the reward of a ranking that changes nothing is exactly 0.

    Args:
        scores: the working LLM's score at tier 0 (no session) and at every tier of some K.

    Raises:
        ValueError: the tiers are not 0 and those of their largest, or a score is not finite.
    """
    reached = sorted(scores)
    if len(reached) < 2 or reached != [0, *tiers(reached[-1])]:
        expected = f"0 and {tiers(reached[-1])}" if reached and reached[-1] > 0 else "0 and those of some K"
        raise ValueError(f"scores are of tiers {reached}; expected {expected}")
    if wrong := {tier: score for tier, score in scores.items() if not math.isfinite(score)}:
        raise ValueError(f"scores must be finite: {wrong}")
    return math.fsum(_discount(tier) * (scores[tier] - scores[lower]) for lower, tier in pairwise(reached))


def retrieval_reward(gold: Set[int], ranking: Sequence[int], k: int) -> float:
    """R_ret = DCG@K of the ranked candidates divided by the ideal DCG@K, within [0, 1].

    Args:
        gold: candidates that hold the evidence, at least one.
        ranking: candidates, best first, without repeats.
        k: K.

    Raises:
        ValueError: no gold, a repeated candidate, or `k` below 1.
    """
    return ndcg(gold, ranking, k)


def hybrid_reward(answer_part: float, retrieval_part: float, alpha: float, beta: float) -> float:
    """R = alpha * R_ans + beta * R_ret. The weights belong to the round: beta is high in the first, then 0."""
    return alpha * answer_part + beta * retrieval_part


def _discount(tier: int) -> float:
    return 1 / math.log2(tier + 1)

"""The reward of a round: outcome and retrieval, weighted."""

from collections.abc import Sequence, Set

from memsifter.metrics.retrieval import ndcg


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

"""From scores to a ranking, and retrieval metrics of a ranking of session ids, with binary relevance.

Every metric takes `gold`, the ids of the sessions that hold the evidence, and `ranking`, session ids (strings, or
whatever else identifies a session) from best to worst. A ranking may be shorter than the haystack: a gold session that
is not in it counts as not found. All values lie in [0, 1].

Every metric raises ValueError for a `k` below 1, a session id that `ranking` repeats, or an empty `gold`: a question
without gold sessions has no defined value, and the caller has to leave it out and count it.
"""

import math
from collections.abc import Hashable, Sequence, Set

import numpy as np
from numpy.typing import NDArray


def order_by_score(scores: Sequence[float] | NDArray[np.floating]) -> list[int]:
    """The ranking that scores make: positions by falling score; equal scores keep their order.

    Args:
        scores: any float dtype, shape (n,).

    Raises:
        ValueError: a score is NaN.
    """
    values = np.asarray(scores)
    if np.isnan(values).any():
        raise ValueError(f"score {int(np.flatnonzero(np.isnan(values))[0])} is NaN; the coarse scores are broken")
    return [int(position) for position in np.argsort(-values, kind="stable")]


def ndcg(gold: Set[Hashable], ranking: Sequence[Hashable], k: int) -> float:
    """Normalised discounted cumulative gain of the top k.

    A gold session at rank i adds 1 / log2(i + 1); the sum is divided by that of min(|gold|, k) gold sessions at the top
    (Järvelin & Kekäläinen 2002).
    """
    gained = sum(_discount(rank) for rank in _gold_ranks(gold, ranking, k))
    ideal = sum(_discount(rank) for rank in range(1, min(len(gold), k) + 1))
    return gained / ideal


def recall(gold: Set[Hashable], ranking: Sequence[Hashable], k: int) -> float:
    """Share of all gold sessions that are in the top k; with more than k gold sessions it cannot reach 1."""
    return len(_gold_ranks(gold, ranking, k)) / len(gold)


def recall_all(gold: Set[Hashable], ranking: Sequence[Hashable], k: int) -> float:
    """1.0 when every gold session is in the top k, else 0.0."""
    return float(len(_gold_ranks(gold, ranking, k)) == len(gold))


def hit(gold: Set[Hashable], ranking: Sequence[Hashable], k: int) -> float:
    """1.0 when at least one gold session is in the top k, else 0.0."""
    return float(bool(_gold_ranks(gold, ranking, k)))


def precision(gold: Set[Hashable], ranking: Sequence[Hashable], k: int) -> float:
    """Gold sessions in the top k, divided by k even when the ranking is shorter."""
    return len(_gold_ranks(gold, ranking, k)) / k


def mrr(gold: Set[Hashable], ranking: Sequence[Hashable]) -> float:
    """Reciprocal rank of the first gold session, 0.0 when there is none; its mean over questions is the MRR."""
    ranks = _gold_ranks(gold, ranking)
    return 1 / ranks[0] if ranks else 0.0


def average_precision(gold: Set[Hashable], ranking: Sequence[Hashable]) -> float:
    """Mean over all gold sessions of the precision at their rank, 0 when not found; its mean over questions is MAP."""
    return math.fsum(count / rank for count, rank in enumerate(_gold_ranks(gold, ranking), start=1)) / len(gold)


def retrieval_metrics(gold: Set[Hashable], ranking: Sequence[Hashable], ks: Sequence[int]) -> dict[str, float]:
    """Every metric of one question: `ndcg_at_10`, `recall_at_10`, … for each k, then `mrr` and `map`."""
    at_k = {"ndcg": ndcg, "recall": recall, "recall_all": recall_all, "hit": hit, "precision": precision}
    values = {f"{name}_at_{k}": metric(gold, ranking, k) for name, metric in at_k.items() for k in ks}
    return {**values, "mrr": mrr(gold, ranking), "map": average_precision(gold, ranking)}


def _gold_ranks(gold: Set[Hashable], ranking: Sequence[Hashable], k: int | None = None) -> list[int]:
    """Ranks, counted from 1, of the gold sessions in the top k (default: in all of `ranking`), ascending."""
    if not gold:
        raise ValueError("gold is empty: a question without gold sessions has no retrieval metrics, leave it out")
    if k is not None and k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    if len(set(ranking)) < len(ranking):
        repeated = next(name for position, name in enumerate(ranking) if name in ranking[:position])
        raise ValueError(f"ranking holds session {repeated!r} more than once; rank every session at most once")
    return [rank for rank, name in enumerate(ranking[:k], start=1) if name in gold]


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)

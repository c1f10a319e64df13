"""Metrics of orders by score, of all questions at once: those of `memsifter.metrics.retrieval`, for fitting's sake."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class GoldRanks:
    """Where an order puts the gold sessions; the metrics of each question are float64 [Q].

    Attributes:
        ranks: int64, the rank of each gold session in its list, from 1; equal scores keep their order.
        starts: int64 [Q], where each question's gold sessions begin in `ranks`.
        counts: int64 [Q], how many gold sessions each question has.
    """

    ranks: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.floating[Any]], gold: NDArray[np.bool_], offsets: NDArray[np.int64]) -> "GoldRanks":
        """Rank the entries of every list.

        Args:
            scores: [entries], finite.
            gold: bool [entries], at least one per list.
            offsets: int64 [Q + 1]; list q is scores[offsets[q]:offsets[q + 1]].
        """
        lengths = np.diff(offsets)
        question = np.repeat(np.arange(len(lengths)), lengths)
        order = np.lexsort((-scores, question))  # stable
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order)) - np.repeat(offsets[:-1], lengths) + 1
        counts = np.add.reduceat(gold.astype(np.int64), offsets[:-1])
        return cls(ranks[gold], np.cumsum(counts) - counts, counts)

    def ndcg(self, k: int) -> Values:
        """NDCG of the top k."""
        gains = np.where(self.ranks <= k, 1 / np.log2(self.ranks + 1.0), 0.0)
        ideal = np.cumsum(1 / np.log2(np.arange(1, k + 1) + 1.0))
        values: Values = np.add.reduceat(gains, self.starts) / ideal[np.minimum(self.counts, k) - 1]
        return values

    def recall(self, k: int) -> Values:
        """Share of the gold sessions that are in the top k."""
        found: Values = np.add.reduceat((self.ranks <= k).astype(np.float64), self.starts)
        return found / self.counts

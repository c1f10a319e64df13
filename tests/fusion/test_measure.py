"""Metrics of all questions at once are those of one question at a time."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.fusion.measure import GoldRanks
from memsifter.metrics.retrieval import ndcg, order_by_score, recall

# Few distinct scores, so that there are ties.
LISTS = st.lists(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=8), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(lists=LISTS, k=st.integers(1, 10))
def test_every_metric_is_that_of_the_ranking(lists: list[list[tuple[int, bool]]], k: int) -> None:
    for items in lists:
        items[0] = (items[0][0], items[0][1] or not any(gold for _, gold in items))
    offsets = np.cumsum([0, *map(len, lists)])
    scores = np.asarray([score for items in lists for score, _ in items], dtype=np.float64)
    gold = np.asarray([flag for items in lists for _, flag in items])
    found = GoldRanks.of(scores, gold, offsets)
    for number, (start, end) in enumerate(pairwise(offsets.tolist())):
        wanted, ranking = set(np.flatnonzero(gold[start:end]).tolist()), order_by_score(scores[start:end])
        assert np.isclose(found.ndcg(k)[number], ndcg(wanted, ranking, k))
        assert found.recall(k)[number] == recall(wanted, ranking, k)

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from memsifter.reward.tiers import hybrid_reward, retrieval_reward


@given(st.permutations(range(8)), st.sets(st.integers(0, 7), min_size=1), st.integers(1, 10))
def test_the_retrieval_reward_is_scikit_learns_ndcg(ranking: list[int], gold: set[int], k: int) -> None:
    relevance = [[float(number in gold) for number in range(8)]]
    scores = [[float(-ranking.index(number)) for number in range(8)]]
    assert retrieval_reward(gold, ranking, k) == pytest.approx(ndcg_score(relevance, scores, k=k))


@given(st.permutations(range(8)), st.integers(1, 7), st.integers(1, 10))
def test_moving_a_gold_session_up_never_lowers_it(ranking: list[int], place: int, k: int) -> None:
    gold = {ranking[place]}
    moved = list(ranking)
    moved[place - 1 : place + 1] = reversed(ranking[place - 1 : place + 1])
    assert retrieval_reward(gold, moved, k) >= retrieval_reward(gold, ranking, k)


def test_without_gold_there_is_none() -> None:
    with pytest.raises(ValueError, match="gold is empty"):
        retrieval_reward(set(), [0, 1], 2)


def test_the_weights_of_the_round_add_both_parts() -> None:
    assert hybrid_reward(-0.5, 1.0, alpha=0.6, beta=0.4) == pytest.approx(0.1)
    assert math.isclose(hybrid_reward(0.3, 0.9, alpha=1.0, beta=0.0), 0.3)

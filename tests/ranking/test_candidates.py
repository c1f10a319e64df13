import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.metrics.retrieval import order_by_score
from memsifter.ranking.candidates import select_candidates

scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, -3.5]), min_size=1, max_size=30)


def test_the_best_are_chosen_and_shown_in_the_order_asked_for() -> None:
    scores, tokens = np.array([0.1, 0.9, 0.5, 0.7]), [10, 10, 10, 10]
    assert select_candidates(scores, tokens, 30, 9, "similarity") == [1, 3, 2]
    assert select_candidates(scores, tokens, 30, 9, "chronological") == [1, 2, 3]
    assert select_candidates(scores, tokens, 1000, 2, "similarity") == [1, 3]


def test_a_session_that_does_not_fit_leaves_room_for_smaller_ones() -> None:
    assert select_candidates(np.array([3.0, 2.0, 1.0]), [50, 60, 50], 100, 9, "similarity") == [0, 2]


def test_the_best_session_is_shown_even_if_it_is_too_long() -> None:
    assert select_candidates(np.array([1.0, 2.0, 0.0]), [5, 500, 1], 100, 9, "similarity") == [1]


def test_equal_scores_keep_haystack_order() -> None:
    assert order_by_score(np.array([1.0, 2.0, 1.0, 2.0, 1.0], dtype=np.float32)) == [1, 3, 0, 2, 4]


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], [float("nan")]])
def test_broken_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"coarse scores|NaN"):
        select_candidates(np.array(scores), [1], 10, 1, "similarity")


@given(st.data(), scores, st.integers(1, 120), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_a_selection_fits_and_misses_nothing_that_would(
    data: st.DataObject, scores: list[float], context_tokens: int, max_candidates: int
) -> None:
    size = len(scores)
    tokens = data.draw(st.lists(st.integers(1, 60), min_size=size, max_size=size))
    chosen = select_candidates(np.array(scores), tokens, context_tokens, max_candidates, "similarity")
    shown = select_candidates(np.array(scores), tokens, context_tokens, max_candidates, "chronological")
    assert shown == sorted(chosen)
    assert 1 <= len(set(chosen)) == len(chosen) <= max_candidates
    used = sum(tokens[position] for position in chosen)
    assert used <= context_tokens or len(chosen) == 1
    order = sorted(range(size), key=lambda position: (-scores[position], position))
    assert chosen == [position for position in order if position in chosen]
    if len(chosen) < max_candidates:
        assert all(used + tokens[position] > context_tokens for position in order if position not in chosen)


def test_required_sessions_are_taken_before_better_ones() -> None:
    scores, tokens = np.array([0.9, 0.1, 0.5, 0.7]), [10, 10, 10, 10]
    assert select_candidates(scores, tokens, 30, 9, "similarity", {1}) == [0, 3, 1]
    assert select_candidates(scores, tokens, 30, 9, "chronological", {1, 2}) == [0, 1, 2]
    assert select_candidates(scores, tokens, 100, 2, "similarity", {1, 2}) == [2, 1]
    assert select_candidates(scores, tokens, 15, 9, "similarity", {1}) == [1], "the best does not fit beside it"


@pytest.mark.parametrize(("context_tokens", "max_candidates"), [(19, 9), (100, 1)])
def test_required_sessions_that_do_not_fit_are_refused(context_tokens: int, max_candidates: int) -> None:
    with pytest.raises(ValueError, match="2 required sessions of 20 tokens"):
        select_candidates(np.array([1.0, 2.0]), [10, 10], context_tokens, max_candidates, "similarity", {0, 1})


@given(st.data(), scores, st.integers(0, 120), st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_required_sessions_leave_the_rest_to_the_others(
    data: st.DataObject, scores: list[float], spare: int, more: int
) -> None:
    size = len(scores)
    tokens = data.draw(st.lists(st.integers(1, 60), min_size=size, max_size=size))
    required = data.draw(st.sets(st.sampled_from(range(size)), min_size=1))
    budget = sum(tokens[position] for position in required) + spare
    chosen = select_candidates(np.array(scores), tokens, budget, len(required) + more, "similarity", required)
    others = [position for position in range(size) if position not in required]
    expected = set(required)
    for position in sorted(others, key=lambda position: (-scores[position], position)):
        fits = sum(tokens[place] for place in expected) + tokens[position] <= budget
        if fits and len(expected) < len(required) + more:
            expected.add(position)
    assert set(chosen) == expected
    assert chosen == sorted(expected, key=lambda position: (-scores[position], position))

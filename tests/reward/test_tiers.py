"""The outcome reward against its definition, with an oracle in exact form."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsifter.reward.tiers import outcome_reward, tier_weights, tiers


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (4, [1, 2, 3, 4]),
        (5, [1, 2, 3, 5]),
        (10, [1, 2, 3, 5, 8, 10]),
        (13, [1, 2, 3, 5, 8, 13]),
        (50, [1, 2, 3, 5, 8, 13, 21, 34, 50]),
    ],
)
def test_tiers_are_fibonacci_numbers_and_then_k(k: int, expected: list[int]) -> None:
    assert tiers(k) == expected


def test_the_weights_of_ten_sessions() -> None:
    weights = tier_weights(10)
    assert list(weights) == [1, 2, 3, 5, 8, 10]
    assert [round(weight, 4) for weight in weights.values()] == [0.3691, 0.1309, 0.1131, 0.0714, 0.0264, 0.2891]


@pytest.mark.parametrize("k", range(1, 51))
def test_weights_telescope_to_the_discounts(k: int) -> None:
    weights = tier_weights(k)
    for tier in tiers(k):
        # What a gain at this tier is worth is worth at every later tier too.
        assert math.fsum(w for later, w in weights.items() if later >= tier) == pytest.approx(
            1 / math.log2(tier + 1), abs=1e-12
        )
    assert math.fsum(weights.values()) == pytest.approx(1, abs=1e-12)
    assert all(weight > 0 for weight in weights.values())


@st.composite
def scored_tiers(draw: st.DrawFn) -> dict[int, float]:
    k = draw(st.integers(1, 50))
    return {tier: draw(st.floats(0, 1)) for tier in [0, *tiers(k)]}


@given(scored_tiers())
def test_both_written_forms_agree(scores: dict[int, float]) -> None:
    weights = tier_weights(max(scores))
    weighted = math.fsum(weight * scores[tier] for tier, weight in weights.items()) - scores[0]
    assert outcome_reward(scores) == pytest.approx(weighted, abs=1e-12)


@given(st.integers(1, 50), st.floats(0, 1))
def test_a_ranking_that_changes_nothing_earns_exactly_nothing(k: int, score: float) -> None:
    assert outcome_reward(dict.fromkeys([0, *tiers(k)], score)) == 0.0


@given(scored_tiers(), st.data())
def test_a_better_answer_at_any_tier_never_earns_less(scores: dict[int, float], data: st.DataObject) -> None:
    tier = data.draw(st.sampled_from([tier for tier in scores if tier > 0]))
    better = {**scores, tier: data.draw(st.floats(scores[tier], 1))}
    assert outcome_reward(better) >= outcome_reward(scores) - 1e-12


def test_the_best_ranking_earns_what_is_left_above_no_session() -> None:
    assert outcome_reward({0: 0.25, 1: 1, 2: 1, 3: 1}) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "scores", [{}, {0: 0.5}, {1: 0.5}, {0: 0, 2: 1}, {0: 0, 1: 1, 3: 1}, {0: 0, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}]
)
def test_scores_of_other_tiers_are_refused(scores: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="tiers"):
        outcome_reward(scores)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_must_be_finite(score: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        outcome_reward({0: 0.0, 1: score})


def test_there_is_no_ranking_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        tiers(0)

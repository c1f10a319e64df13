import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.fusion.fit import GRID, UNTESTED, StrengthSearch, assign_folds, choose_per_fold, cross_validate
from memsifter.fusion.listwise import TrainingLists, fit_weights


@settings(max_examples=100, deadline=None)
@given(groups=st.lists(st.integers(0, 12), min_size=1, max_size=60), folds=st.integers(2, 8))
def test_no_group_is_in_two_folds_and_no_fold_is_empty(groups: list[int], folds: int) -> None:
    assigned = assign_folds(np.asarray(groups), folds)
    assert len({(group, fold) for group, fold in zip(groups, assigned.tolist(), strict=True)}) == len(set(groups))
    assert set(assigned.tolist()) == set(range(min(folds, len(set(groups)))))


def test_groups_are_spread_evenly() -> None:
    groups = np.repeat(np.arange(6), [50, 10, 10, 10, 10, 10])
    assert np.bincount(assign_folds(groups, 2)).tolist() == [50, 50]


def test_every_question_is_scored_by_weights_that_never_saw_its_fold() -> None:
    rng = np.random.default_rng(1)
    offsets = np.arange(0, 41, 4)
    gold = np.zeros(40, dtype=np.bool_)
    gold[offsets[:-1] + rng.integers(0, 4, size=10)] = True
    lists = TrainingLists(rng.normal(size=(40, 2)), gold, offsets)
    folds = np.asarray([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    centre = np.asarray([0.2, 0.1])
    found = cross_validate(lists, folds, [1.0, 3.0, np.inf], centre)
    for fold in range(3):
        weights = fit_weights(lists.select(np.flatnonzero(folds != fold)), [1.0, 3.0, np.inf][fold], centre)
        for question in np.flatnonzero(folds == fold):
            entries = slice(offsets[question], offsets[question + 1])
            np.testing.assert_allclose(found[entries], lists.features[entries] @ weights)


def test_what_the_held_out_questions_hold_as_gold_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    lists = TrainingLists(rng.normal(size=(12, 2)), np.asarray([True, False, False] * 4), np.arange(0, 13, 3))
    changed = TrainingLists(lists.features, lists.gold.copy(), lists.offsets)
    changed.gold[:3] = [False, False, True]
    folds, centre = np.asarray([0, 1, 1, 1]), np.zeros(2)
    before, after = (cross_validate(item, folds, [1.0, 1.0], centre)[:3] for item in (lists, changed))
    np.testing.assert_array_equal(before, after)


def draw_conversations(count: int, questions: int, seed: int, weights: tuple[float, ...]) -> TrainingLists:
    """Questions over haystacks of 12 sessions, whose gold is drawn from the softmax of planted weights."""
    rng = np.random.default_rng(seed)
    size = count * questions
    features = rng.normal(size=(size * 12, len(weights)))
    noisy = features @ np.asarray(weights) + rng.gumbel(size=size * 12)
    gold = np.zeros(size * 12, dtype=np.bool_)
    gold[np.arange(size) * 12 + noisy.reshape(size, 12).argmax(axis=1)] = True
    return TrainingLists(features, gold, np.arange(0, size * 12 + 1, 12))


PRIOR = np.asarray([1.0, 0.5, 0.0])


def test_default_weights_that_are_right_stay_and_wrong_ones_are_left() -> None:
    folds = np.repeat(np.arange(5), 20)
    right = StrengthSearch(draw_conversations(5, 20, 3, (1.0, 0.5, 0.0)), folds, PRIOR).choose()
    wrong = StrengthSearch(draw_conversations(5, 20, 3, (-1.0, 0.5, 2.0)), folds, PRIOR).choose()
    assert right.l2 == np.inf
    assert wrong.l2 < 100
    assert len(right.losses) == len(GRID)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_score_that_is_constant_or_noise_keeps_its_default_weight_within_noise(seed: int) -> None:
    lists = draw_conversations(5, 40, seed, (1.0, 0.0, 0.5))
    lists.features[:, 2] = 0.0
    centre = np.asarray([0.5, 0.0, 0.7])
    folds = np.repeat(np.arange(5), 40)
    weights = fit_weights(lists, StrengthSearch(lists, folds, centre).choose().l2, centre)
    assert weights[2] == pytest.approx(0.7)
    assert abs(weights[1]) < 0.4  # its standard error is about 0.1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_choice_does_not_depend_on_the_order_of_questions(seed: int) -> None:
    lists = draw_conversations(4, 10, seed, (0.2, 1.0, 0.5))
    groups = np.repeat(np.arange(4), 10)
    order = np.random.default_rng(seed).permutation(40)
    here = StrengthSearch(lists, assign_folds(groups, 10), PRIOR).choose()
    there = StrengthSearch(lists.select(order), assign_folds(groups[order], 10), PRIOR).choose()
    again = StrengthSearch(lists, assign_folds(groups, 10), PRIOR).choose()
    assert here == again
    assert here.l2 == there.l2
    assert here.losses == pytest.approx(there.losses)


def test_the_l2_of_a_fold_is_chosen_without_its_questions() -> None:
    lists = draw_conversations(4, 10, 1, (0.2, 1.0, 0.5))
    folds = np.repeat(np.arange(4), 10)
    others = lists.select(np.flatnonzero(folds != 2))
    alone = StrengthSearch(others, np.repeat([0, 1, 3], 10), PRIOR).choose()
    search = StrengthSearch(lists, folds, PRIOR)
    assert [search.choose(fold).l2 for fold in range(4)] == choose_per_fold(lists, folds, PRIOR, "auto")
    assert search.choose(2) == alone
    assert choose_per_fold(lists, folds, PRIOR, 7.0) == [7.0] * 4


def test_with_too_few_conversations_nothing_is_chosen() -> None:
    lists = draw_conversations(2, 5, 1, (1.0, 0.0, 0.0))
    one, two = np.zeros(10, dtype=np.int64), np.repeat([0, 1], 5)
    assert StrengthSearch(lists, one, PRIOR).choose().l2 == UNTESTED
    assert StrengthSearch(lists, two, PRIOR).choose(hidden=0).l2 == UNTESTED
    assert StrengthSearch(lists, two, PRIOR).choose().losses

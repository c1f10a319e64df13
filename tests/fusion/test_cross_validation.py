import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.fusion.listwise import TrainingLists, assign_folds, cross_validate, fit_weights


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
    found = cross_validate(lists, folds, 1.0, centre)
    for fold in range(3):
        weights = fit_weights(lists.select(np.flatnonzero(folds != fold)), 1.0, centre)
        for question in np.flatnonzero(folds == fold):
            entries = slice(offsets[question], offsets[question + 1])
            np.testing.assert_allclose(found[entries], lists.features[entries] @ weights)


def test_what_the_held_out_questions_hold_as_gold_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    lists = TrainingLists(rng.normal(size=(12, 2)), np.asarray([True, False, False] * 4), np.arange(0, 13, 3))
    changed = TrainingLists(lists.features, lists.gold.copy(), lists.offsets)
    changed.gold[:3] = [False, False, True]
    folds, centre = np.asarray([0, 1, 1, 1]), np.zeros(2)
    before, after = (cross_validate(item, folds, 1.0, centre)[:3] for item in (lists, changed))
    np.testing.assert_array_equal(before, after)

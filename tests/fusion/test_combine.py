import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_datasets import RETRIEVAL, random_scores

from memsifter.fusion.combine import combine_scores, standardize, weighted_sum
from memsifter.params import METHODS
from memsifter.retrieval.score_lists import ScoreLists

WEIGHTS = {"dense_chunk_max": 0.7, "lexical_session": -0.2, "length": 1.5}
READ = {**WEIGHTS, "likelihood": 0.4}
SCORES = random_scores([6, 1, 4], seed=3)
LIKELIHOODS = np.asarray([-9.0, np.nan, -4.0, np.nan, -5.0, np.nan, -3.0, np.nan, -8.0, -6.0, np.nan])
LISTS = ScoreLists(SCORES.question_ids, SCORES.offsets, {**SCORES.columns, "likelihood": LIKELIHOODS})
# Multiples of 1/8: a spread is either none or far above rounding errors.
VALUES = st.integers(-80, 80).map(lambda value: value / 8)
ROWS = st.lists(st.lists(VALUES, min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS)
def test_each_list_has_mean_zero_and_deviation_one_or_is_zero(rows: list[list[float]]) -> None:
    offsets = np.cumsum([0, *map(len, rows)])
    found = np.split(standardize(np.concatenate(rows), offsets), offsets[1:-1])
    for before, after in zip(rows, found, strict=True):
        if len(set(before)) == 1:
            assert not after.any()
        else:
            assert after.mean() == pytest.approx(0, abs=1e-9)
            assert after.std() == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, scale=st.floats(0.1, 100), shift=st.integers(-400, 400))
def test_scale_and_shift_do_not_matter(rows: list[list[float]], scale: float, shift: int) -> None:
    offsets, flat = np.cumsum([0, *map(len, rows)]), np.concatenate(rows)
    np.testing.assert_allclose(standardize(flat * scale + shift / 8, offsets), standardize(flat, offsets), atol=1e-6)


def test_every_method_is_the_sum_that_it_promises() -> None:
    methods = combine_scores(LISTS, RETRIEVAL, WEIGHTS, READ)
    assert tuple(methods) == METHODS
    assert tuple(combine_scores(SCORES, RETRIEVAL, WEIGHTS)) == METHODS[:-1]
    z = {name: standardize(values, LISTS.offsets) for name, values in SCORES.columns.items()}
    np.testing.assert_array_equal(methods["dense"], LISTS.columns["dense_chunk_max"])
    lexical = (z["lexical_session"] + z["lexical_window_max"]) / 2
    np.testing.assert_allclose(methods["lexical"], lexical)
    hand_weighted = 0.5 * z["dense_chunk_max"] + standardize(lexical, LISTS.offsets) + z["date"]
    np.testing.assert_allclose(methods["hand_weighted"], hand_weighted, atol=1e-12)
    fitted = 0.7 * z["dense_chunk_max"] - 0.2 * z["lexical_session"] + 1.5 * z["length"]
    np.testing.assert_allclose(methods["fitted"], fitted, atol=1e-12)
    # Nats above the worst that was read.
    likelihood = np.asarray([0, 0, 5, 0, 4, 0, 0, 0, 0, 2, 0]) / 5
    np.testing.assert_allclose(methods["fitted_likelihood"], fitted + 0.4 * likelihood, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(6)))
def test_permuting_the_sessions_permutes_the_scores_of_every_method(order: list[int]) -> None:
    one = LISTS.select(np.asarray([0]))
    moved = ScoreLists(one.question_ids, one.offsets, {name: column[order] for name, column in one.columns.items()})
    before, after = (combine_scores(lists, RETRIEVAL, WEIGHTS, READ) for lists in (one, moved))
    for name in METHODS:
        np.testing.assert_allclose(after[name], before[name][order], atol=1e-6)


def test_a_haystack_of_one_session_and_one_of_identical_sessions_sum_to_zero() -> None:
    lists = ScoreLists(
        ("one", "same"), np.asarray([0, 1, 4]), {name: np.full(4, 7.0, np.float32) for name in LISTS.columns}
    )
    assert not weighted_sum(lists, WEIGHTS).any()


def test_where_lexical_scores_cancel_out_rounding_errors_do_not_order() -> None:
    rng = np.random.default_rng(5)
    offsets = np.arange(0, 401, 2)
    better_session, better_window = (rng.uniform(0, 9, (200, 2)).astype(np.float32) for _ in range(2))
    better_session.sort(axis=1)
    better_window[:, ::-1].sort(axis=1)  # of each two sessions, the other one
    columns = dict.fromkeys(("dense_chunk_max", "date"), np.zeros(400, np.float32))
    columns |= {"lexical_session": better_session.ravel(), "lexical_window_max": better_window.ravel()}
    lists = ScoreLists(tuple(map(str, range(200))), offsets, columns)
    assert not combine_scores(lists, RETRIEVAL, {})["hand_weighted"].any()


def test_with_an_m3_model_lexical_is_its_own_term_weights() -> None:
    m3 = RETRIEVAL.model_copy(update={"lexical": "m3"})
    lists = ScoreLists(LISTS.question_ids, LISTS.offsets, {**LISTS.columns, "m3_lexical": LISTS.columns["length"]})
    expected = standardize(LISTS.columns["length"], LISTS.offsets)
    np.testing.assert_allclose(combine_scores(lists, m3, WEIGHTS)["lexical"], expected)

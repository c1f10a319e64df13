from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from memsifter.errors import MemSifterError
from memsifter.fusion.listwise import ListwiseLoss, TrainingLists, fit_weights, question_losses

PLANTED = np.asarray([1.5, -0.8, 0.0, 0.6])
ZERO = np.zeros(4)


def draw_lists(questions: int, seed: int) -> TrainingLists:
    """Haystacks of 5 to 20 sessions whose gold is drawn from the softmax of the planted weights."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 21, size=questions)
    features = rng.normal(size=(int(sizes.sum()), len(PLANTED)))
    offsets = np.append(0, np.cumsum(sizes))
    gold = np.zeros(len(features), dtype=np.bool_)
    for start, end in pairwise(offsets.tolist()):
        scores = np.exp(features[start:end] @ PLANTED)
        gold[start + rng.choice(end - start, p=scores / scores.sum())] = True
    return TrainingLists(features, gold, offsets)


def test_planted_weights_are_recovered() -> None:
    np.testing.assert_allclose(fit_weights(draw_lists(8000, 1), 0.01, ZERO), PLANTED, atol=0.06)


def test_fitting_twice_gives_the_same_weights() -> None:
    lists = draw_lists(50, 2)
    assert fit_weights(lists, 1.0, ZERO).tolist() == fit_weights(lists, 1.0, ZERO).tolist()


def test_the_order_of_sessions_and_questions_does_not_matter() -> None:
    lists = draw_lists(30, 3)
    turned = lists.select(np.arange(29, -1, -1))
    backwards = TrainingLists(
        np.concatenate([part[::-1] for part in np.split(turned.features, turned.offsets[1:-1])]),
        np.concatenate([part[::-1] for part in np.split(turned.gold, turned.offsets[1:-1])]),
        turned.offsets,
    )
    np.testing.assert_allclose(fit_weights(backwards, 1.0, ZERO), fit_weights(lists, 1.0, ZERO), atol=1e-6)


@pytest.mark.parametrize("gold_per_list", [1, 3])
def test_gradient_and_hessian_are_the_loss_function_s(gold_per_list: int) -> None:
    lists = draw_lists(12, 4)
    for start in lists.offsets[:-1]:
        lists.gold[start : start + gold_per_list] = True
    loss = ListwiseLoss(lists, 2.0, PLANTED)
    at = np.asarray([0.3, -0.1, 0.9, 0.2])
    value, gradient, hessian = loss.derivatives(at)
    assert value == loss.value(at)
    np.testing.assert_allclose(gradient, approx_fprime(at, loss.value, 1e-7), atol=1e-4)
    np.testing.assert_allclose(hessian, approx_fprime(at, lambda w: loss.derivatives(w)[1], 1e-7), atol=1e-4)


@pytest.mark.parametrize("l2", [0.01, 1.0, 300.0])
def test_the_minimum_is_the_one_that_scipy_finds(l2: float) -> None:
    lists = draw_lists(40, 7)
    loss = ListwiseLoss(lists, l2, PLANTED / 2)
    found = minimize(loss.value, ZERO, jac=lambda w: loss.derivatives(w)[1], method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(fit_weights(lists, l2, PLANTED / 2), found, atol=1e-5)


def test_where_the_search_starts_does_not_matter() -> None:
    lists = draw_lists(40, 8)
    far = fit_weights(lists, 1.0, ZERO, start=np.full(4, 30.0))
    np.testing.assert_allclose(far, fit_weights(lists, 1.0, ZERO), atol=1e-6)


def test_an_infinite_pull_is_the_centre() -> None:
    assert fit_weights(draw_lists(5, 9), np.inf, PLANTED).tolist() == PLANTED.tolist()


def test_the_loss_is_the_cross_entropy_written_out() -> None:
    lists = TrainingLists(np.asarray([[0.0], [1.0], [5.0]]), np.asarray([True, True, True]), np.asarray([0, 2, 3]))
    weights = np.asarray([3.0])
    share = np.exp([0.0, 3.0]) / np.exp([0.0, 3.0]).sum()
    losses = question_losses(lists, weights)
    assert losses.tolist() == pytest.approx([-np.log(share).mean(), 0])
    assert ListwiseLoss(lists, 0.5, np.asarray([1.0])).value(weights) == pytest.approx(losses.sum() + 0.5 / 2 * 2**2)


def test_without_evidence_the_weights_stay_where_they_are_held() -> None:
    lists = TrainingLists(np.zeros((4, 2)), np.asarray([True, False, True, True]), np.asarray([0, 3, 4]))
    np.testing.assert_allclose(fit_weights(lists, 0.1, np.asarray([0.5, -2.0])), [0.5, -2.0])


def test_the_stronger_the_hold_the_nearer_the_weights() -> None:
    lists = draw_lists(60, 5)
    distances = [np.linalg.norm(fit_weights(lists, l2, ZERO)) for l2 in (0.1, 10, 1000)]
    assert distances[0] > distances[1] > distances[2] > 0


def test_separable_lists_have_finite_weights() -> None:
    lists = TrainingLists(np.asarray([[1.0], [-1.0]] * 3), np.asarray([True, False] * 3), np.asarray([0, 2, 4, 6]))
    assert 0 < fit_weights(lists, 1e-3, np.zeros(1))[0] < 20


def test_broken_scores_are_refused() -> None:
    lists = draw_lists(5, 6)
    lists.features[3, 1] = np.nan
    with pytest.raises(MemSifterError, match="a score is not a finite number"):
        fit_weights(lists, 1.0, ZERO)

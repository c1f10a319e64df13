from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scored_datasets import RETRIEVAL, random_scores

from memsifter.errors import MemSifterError
from memsifter.fusion.combine import read_weights, write_weights
from memsifter.fusion.fit import default_weights, fit_fusion
from memsifter.fusion.training_set import TrainingSet


def draw_training_set(questions: int) -> TrainingSet:
    """The session with the largest `length` is gold."""
    scores = random_scores([5] * questions, seed=1)
    best = scores.columns["length"].reshape(-1, 5).argmax(axis=1)
    gold = np.zeros(5 * questions, dtype=np.bool_)
    gold[np.arange(questions) * 5 + best] = True
    return TrainingSet(scores, gold, np.arange(questions), {"toy": questions}, 0, "0" * 64)


def test_without_training_questions_the_default_weights_are_used() -> None:
    found = fit_fusion(None, RETRIEVAL)
    assert found.source == "default"
    assert found.weights == {"dense_chunk_max": 0.5, "lexical_session": 0.0, "length": 0.0}
    assert found.training_set is None
    assert found.l2 is None
    read = fit_fusion(None, RETRIEVAL, likelihood=True)
    assert read.weights == {**found.weights, "likelihood": 0.0}


def test_default_weights_are_finite() -> None:
    fit = RETRIEVAL.fit.model_copy(update={"default_weights": {"length": float("inf")}})
    with pytest.raises(MemSifterError, match=r"retrieval\.fit\.default_weights: the weight of length is inf, not a"):
        fit_fusion(draw_training_set(2), RETRIEVAL.model_copy(update={"fit": fit}))


def test_with_them_what_finds_the_gold_weighs_most() -> None:
    found = fit_fusion(draw_training_set(100), RETRIEVAL)
    assert found.source == "fitted"
    assert max(found.weights, key=lambda name: abs(found.weights[name])) == "length"
    assert found.questions == {"toy": 100}


def test_few_questions_hardly_move_the_weights() -> None:
    held = RETRIEVAL.model_copy(update={"fit": RETRIEVAL.fit.model_copy(update={"l2": 1000.0})})
    found = fit_fusion(draw_training_set(2), held).weights
    assert found == pytest.approx(default_weights(held), abs=0.01)


def test_l2_is_chosen_by_conversation_and_told() -> None:
    auto = RETRIEVAL.model_copy(update={"fit": RETRIEVAL.fit.model_copy(update={"l2": "auto"})})
    found = fit_fusion(draw_training_set(100), auto)
    assert found.source == "fitted"
    assert found.l2 in (1, 3, 10)
    assert list(found.losses) == ["default", "1000", "300", "100", "30", "10", "3", "1"]
    assert found.losses["1"] < found.losses["default"]


def test_where_fitting_does_not_help_the_default_weights_are_used() -> None:
    auto = RETRIEVAL.model_copy(update={"fit": RETRIEVAL.fit.model_copy(update={"l2": "auto"})})
    training = draw_training_set(60)
    gold = np.zeros(300, dtype=np.bool_)
    gold[np.arange(60) * 5 + np.random.default_rng(3).integers(5, size=60)] = True  # no score knows it
    unhelpful = auto.model_copy(update={"fit": auto.fit.model_copy(update={"default_weights": {}})})
    found = fit_fusion(replace(training, gold=gold), unhelpful)
    assert (found.source, found.l2) == ("default", None)
    assert found.weights == default_weights(unhelpful)
    assert found.questions == {"toy": 60}


def test_each_method_has_its_weights_in_the_file(tmp_path: Path) -> None:
    training = draw_training_set(20)
    columns = {**training.scores.columns, "likelihood": np.where(training.gold, -5.0, np.nan)}
    read = replace(training, scores=replace(training.scores, columns=columns))
    plain, richer = fit_fusion(training, RETRIEVAL), fit_fusion(read, RETRIEVAL, likelihood=True)
    assert list(richer.weights) == [*RETRIEVAL.scores, "likelihood"]
    write_weights(tmp_path / "both.json", plain, richer)
    assert read_weights(tmp_path / "both.json") == plain
    assert read_weights(tmp_path / "both.json", "fitted_likelihood") == richer
    write_weights(tmp_path / "one.json", plain)
    with pytest.raises(MemSifterError, match=r"one\.json: holds no weights of fitted_likelihood; repeat fit_fusion"):
        read_weights(tmp_path / "one.json", "fitted_likelihood")


def test_the_file_is_read_back_and_the_same_on_every_run(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_weights(tmp_path / name, fit_fusion(draw_training_set(20), RETRIEVAL))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_weights(tmp_path / "a.json") == fit_fusion(draw_training_set(20), RETRIEVAL)


@pytest.mark.parametrize("content", ['{"date": 1.0}', "[]", '{"fitted": {"weights": {"date": "much"}}}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(MemSifterError, match="not a file of weights"):
        read_weights(tmp_path / "a.json")


def test_weights_are_finite(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.json", fit_fusion(None, RETRIEVAL))
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("0.5", "Infinity"))
    with pytest.raises(MemSifterError, match=r"a\.json: the weight of dense_chunk_max is not a finite number"):
        read_weights(tmp_path / "a.json")

from pathlib import Path

import numpy as np
import pytest
from scored_datasets import RETRIEVAL, random_scores

from memsifter.errors import MemSifterError
from memsifter.fusion.combine import read_weights, write_weights
from memsifter.fusion.listwise import default_weights, fit_fusion
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


def test_the_file_is_read_back_and_the_same_on_every_run(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_weights(tmp_path / name, fit_fusion(draw_training_set(20), RETRIEVAL))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_weights(tmp_path / "a.json") == fit_fusion(draw_training_set(20), RETRIEVAL)


@pytest.mark.parametrize("content", ['{"date": 1.0}', "[]", '{"weights": {"date": "much"}}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(MemSifterError, match="not a file of weights"):
        read_weights(tmp_path / "a.json")


def test_weights_are_finite(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.json", fit_fusion(None, RETRIEVAL))
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("0.5", "Infinity"))
    with pytest.raises(MemSifterError, match=r"a\.json: the weight of dense_chunk_max is not a finite number"):
        read_weights(tmp_path / "a.json")

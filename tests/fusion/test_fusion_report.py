import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from scored_datasets import RETRIEVAL, random_scores

from memsifter.fusion.combine import FittedWeights
from memsifter.fusion.fit import fit_fusion
from memsifter.fusion.report import measure_fusion, render_ablation, render_report
from memsifter.fusion.training_set import TrainingSet
from memsifter.metrics.retrieval import ndcg, order_by_score
from memsifter.params import Method

SAMPLES, SEED = 200, 1


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    """Four conversations of six questions; the gold session is the longest."""
    scores = random_scores([8] * 24, seed=4)
    gold = np.zeros(8 * 24, dtype=np.bool_)
    gold[np.arange(24) * 8 + scores.columns["length"].reshape(-1, 8).argmax(axis=1)] = True
    return TrainingSet(scores, gold, np.repeat(np.arange(4), 6), {"toy": 24}, 3, "0" * 64)


def test_methods_stand_side_by_side_and_each_score_has_its_ablation(training: TrainingSet) -> None:
    fitted = fit_fusion(training, RETRIEVAL)
    result = measure_fusion(training, {"fitted": fitted}, RETRIEVAL, SAMPLES, SEED)
    assert result.folds == 4
    assert list(result.values) == ["dense", "lexical", "hand_weighted", "dense + lexical", "length", "fitted"]
    assert result.values["fitted"]["NDCG@10"].mean() > 0.9 > 0.7 > result.values["hand_weighted"]["NDCG@10"].mean()
    by_score = {item.score: item for item in result.ablations}
    assert by_score["length"].alone == 1
    loss = by_score["length"].loss
    assert loss is not None
    assert loss.low > 0.2
    report = render_report({"fitted": fitted}, [result], SAMPLES, SEED)
    assert "24 of `toy`; 3 without gold left out" in report
    verdicts = {
        cells[1].strip(): cells[5].strip() for line in report.splitlines() if len(cells := line.split("|")) == 7
    }
    assert verdicts["hand_weighted"] == "better"
    assert verdicts["length"] in ("as good", "worse"), "the gold session is the longest"
    assert [row["score"] for row in csv.DictReader(io.StringIO(render_ablation(result)))] == list(RETRIEVAL.scores)


def test_figures_are_those_of_the_metrics(training: TrainingSet) -> None:
    result = measure_fusion(training, {"fitted": fit_fusion(training, RETRIEVAL)}, RETRIEVAL, SAMPLES, SEED)
    for question in (0, 23):
        entries = slice(8 * question, 8 * question + 8)
        order = order_by_score(training.scores.columns["dense_chunk_max"][entries])
        gold = set(np.flatnonzero(training.gold[entries]).tolist())
        assert result.values["dense"]["NDCG@5"][question] == ndcg(gold, order, 5)


def test_conversations_that_share_sessions_are_not_cross_validated(training: TrainingSet) -> None:
    shared = replace(training, groups=np.zeros(24, dtype=np.int64))
    fitted = fit_fusion(shared, RETRIEVAL)
    result = measure_fusion(shared, {"fitted": fitted}, RETRIEVAL, SAMPLES, SEED)
    assert result.folds == 0
    assert "fitted" not in result.values
    assert "the weights cannot be measured on others" in render_report({"fitted": fitted}, [result], SAMPLES, SEED)


def test_without_training_questions_the_report_says_so() -> None:
    report = render_report({"fitted": fit_fusion(None, RETRIEVAL)}, [], SAMPLES, SEED)
    assert "these are the default weights" in report
    assert "| dense_chunk_max | 0.50" in report
    assert render_ablation(None) == "score,weight,alone,adds\n"


def test_the_report_tells_the_strength_that_was_chosen_and_the_loss_of_every_other(training: TrainingSet) -> None:
    auto = RETRIEVAL.model_copy(update={"fit": RETRIEVAL.fit.model_copy(update={"l2": "auto"})})
    fitted = fit_fusion(training, auto)
    result = measure_fusion(training, {"fitted": fitted}, auto, SAMPLES, SEED)
    report = render_report({"fitted": fitted}, [result], SAMPLES, SEED)
    assert len(result.l2s) == 4
    assert f"l2, the pull towards the default weights, is {fitted.l2:g}." in report
    assert f"| loss | {fitted.losses['default']:.3f}" in report


def test_with_likelihoods_both_fitted_methods_are_measured_on_the_same_questions(training: TrainingSet) -> None:
    likelihoods = np.where(training.gold, -10.0, -30.0)
    columns = {**training.scores.columns, "likelihood": likelihoods}
    read = replace(training, scores=replace(training.scores, columns=columns))
    fitted: dict[Method, FittedWeights] = {
        "fitted": fit_fusion(read, RETRIEVAL),
        "fitted_likelihood": fit_fusion(read, RETRIEVAL, likelihood=True),
    }
    result = measure_fusion(read, fitted, RETRIEVAL, SAMPLES, SEED)
    assert result.method == "fitted_likelihood"
    assert result.values["fitted_likelihood"]["NDCG@1"].mean() == 1
    assert [item.score for item in result.ablations] == [*RETRIEVAL.scores, "likelihood"]
    report = render_report(fitted, [result], SAMPLES, SEED)
    assert "## `fitted_likelihood`" in report
    assert "| likelihood " in report

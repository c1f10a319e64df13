import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from scored_datasets import RETRIEVAL, random_scores

from memsifter.fusion.listwise import fit_fusion
from memsifter.fusion.report import measure_fusion, render_ablation, render_report
from memsifter.fusion.training_set import TrainingSet
from memsifter.metrics.retrieval import ndcg, order_by_score

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
    result = measure_fusion(training, fitted, RETRIEVAL, SAMPLES, SEED)
    assert result.folds == 4
    assert list(result.values) == ["dense", "lexical", "hand_weighted", "dense + lexical", "fitted"]
    assert result.values["fitted"]["NDCG@10"].mean() > 0.9 > 0.7 > result.values["hand_weighted"]["NDCG@10"].mean()
    by_score = {item.score: item for item in result.ablations}
    assert by_score["length"].alone == 1
    loss = by_score["length"].loss
    assert loss is not None
    assert loss.low > 0.2
    report = render_report(fitted, training, result, SAMPLES, SEED)
    assert "24 of `toy`; 3 without gold left out" in report
    assert "NDCG@5 of `fitted` minus `hand_weighted`: +" in report
    assert [row["score"] for row in csv.DictReader(io.StringIO(render_ablation(result)))] == list(RETRIEVAL.scores)


def test_figures_are_those_of_the_metrics(training: TrainingSet) -> None:
    result = measure_fusion(training, fit_fusion(training, RETRIEVAL), RETRIEVAL, SAMPLES, SEED)
    for question in (0, 23):
        entries = slice(8 * question, 8 * question + 8)
        order = order_by_score(training.scores.columns["dense_chunk_max"][entries])
        gold = set(np.flatnonzero(training.gold[entries]).tolist())
        assert result.values["dense"]["NDCG@5"][question] == ndcg(gold, order, 5)


def test_conversations_that_share_sessions_are_not_cross_validated(training: TrainingSet) -> None:
    shared = replace(training, groups=np.zeros(24, dtype=np.int64))
    fitted = fit_fusion(shared, RETRIEVAL)
    result = measure_fusion(shared, fitted, RETRIEVAL, SAMPLES, SEED)
    assert result.folds == 0
    assert "fitted" not in result.values
    assert "the weights cannot be measured on others" in render_report(fitted, shared, result, SAMPLES, SEED)


def test_without_training_questions_the_report_says_so() -> None:
    report = render_report(fit_fusion(None, RETRIEVAL), None, None, SAMPLES, SEED)
    assert "these are the default weights" in report
    assert "| dense_chunk_max | 0.50" in report
    assert render_ablation(None) == "score,weight,alone,adds\n"

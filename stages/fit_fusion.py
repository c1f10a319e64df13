"""Fit the weights of the coarse scores on train questions with gold sessions: python -m stages.fit_fusion."""

import logging
from collections.abc import Sequence

from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.fusion.combine import FittedWeights, write_weights
from memsifter.fusion.fit import fit_fusion
from memsifter.fusion.likelihood import add_likelihoods
from memsifter.fusion.report import measure_fusion, render_ablation, render_report
from memsifter.fusion.training_set import TrainingSet, collect_training_set
from memsifter.io.files import write_text
from memsifter.io.paths import (
    dataset_directory,
    fusion_report_directory,
    fusion_weights_file,
    likelihoods_file,
    scores_file,
)
from memsifter.params import Method, Params
from memsifter.retrieval.catalogue import computed_scores
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)


def main(params: Params) -> dict[str, float]:
    """Write `data/fusion/weights.json` and `reports/fusion/`."""
    retrieval = params.retrieval
    read = [name for name in retrieval.fit.datasets if name in retrieval.likelihood.datasets]
    sets: dict[Method, TrainingSet | None] = {"fitted": _collect(params, retrieval.fit.datasets, likelihood=False)}
    if retrieval.likelihood.datasets:
        sets["fitted_likelihood"] = _collect(params, read, likelihood=True)
    fitted: dict[Method, FittedWeights] = {}
    for method, training in sets.items():
        fitted[method] = fit_fusion(training, retrieval, likelihood=method == "fitted_likelihood")
        if training is None:
            logger.warning("%s: no train question with gold sessions: default weights", method)
        else:
            count, weights = sum(training.questions.values()), fitted[method]
            logger.info("%s: %s weights, %d questions: %s", method, weights.source, count, weights.weights)
    # A method that was fitted on the same questions stands beside the other in one table.
    by_questions = {training.sha256: training for training in sets.values() if training is not None}
    samples, seed = params.evaluate.bootstrap_samples, params.seed
    results = [
        measure_fusion(
            training,
            {name: fitted[name] for name in fitted if name == "fitted" or "likelihood" in training.scores.columns},
            retrieval,
            samples,
            seed,
        )
        for training in by_questions.values()
    ]
    write_weights(fusion_weights_file(), fitted["fitted"], fitted.get("fitted_likelihood"))
    reports = fusion_report_directory()
    write_text(reports / "report.md", render_report(fitted, results, samples, seed))
    write_text(reports / "ablation.csv", render_ablation(results[-1] if results else None))
    weights = fitted["fitted"]
    return {"questions": sum(weights.questions.values()), **{f"weight_{k}": v for k, v in weights.weights.items()}}


def _collect(params: Params, names: Sequence[str], likelihood: bool) -> TrainingSet | None:
    """The train questions of these datasets, with the likelihoods among their scores where asked for."""
    scores = {}
    for name in names:
        lists = ScoreLists.read(scores_file(name), computed_scores(params.retrieval))
        lists.require_finite(f"data/scores/{name}.parquet", "repeat score")
        scores[name] = add_likelihoods(lists, likelihoods_file(name)) if likelihood else lists
    return collect_training_set({name: load_dataset(dataset_directory(name)) for name in names}, scores)


if __name__ == "__main__":
    run_stage(main)

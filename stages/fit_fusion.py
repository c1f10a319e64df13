"""Fit the weights of the coarse scores on train questions with gold sessions: python -m stages.fit_fusion."""

import logging

from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.fusion.combine import write_weights
from memsifter.fusion.listwise import fit_fusion
from memsifter.fusion.report import measure_fusion, render_ablation, render_report
from memsifter.fusion.training_set import collect_training_set
from memsifter.io.files import write_text
from memsifter.io.paths import dataset_directory, fusion_report_directory, fusion_weights_file, scores_file
from memsifter.params import Params
from memsifter.retrieval.catalogue import computed_scores
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)


def main(params: Params) -> dict[str, float]:
    """Write `data/fusion/weights.json` and `reports/fusion/`."""
    names = params.retrieval.fit.datasets
    scores = {name: ScoreLists.read(scores_file(name), computed_scores(params.retrieval)) for name in names}
    for name, lists in scores.items():
        lists.require_finite(f"data/scores/{name}.parquet", "repeat score")
    training = collect_training_set({name: load_dataset(dataset_directory(name)) for name in names}, scores)
    fitted = fit_fusion(training, params.retrieval)
    samples, seed = params.evaluate.bootstrap_samples, params.seed
    if training is None:
        logger.warning("no train question with gold sessions in %s: default weights", ", ".join(names) or "no dataset")
        result = None
    else:
        logger.info("weights fitted on %d questions: %s", sum(training.questions.values()), fitted.weights)
        result = measure_fusion(training, fitted, params.retrieval, samples, seed)
    write_weights(fusion_weights_file(), fitted)
    reports = fusion_report_directory()
    write_text(reports / "report.md", render_report(fitted, training, result, samples, seed))
    write_text(reports / "ablation.csv", render_ablation(result))
    return {"questions": sum(fitted.questions.values()), **{f"weight_{k}": v for k, v in fitted.weights.items()}}


if __name__ == "__main__":
    run_stage(main)

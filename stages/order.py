"""Order the sessions of every question by its coarse scores: python -m stages.order <dataset>."""

import logging

from memsifter.command import run_stage
from memsifter.fusion.combine import combine_scores, read_weights
from memsifter.fusion.likelihood import LIKELIHOOD, add_likelihoods
from memsifter.io.files import write_table
from memsifter.io.paths import fusion_weights_file, likelihoods_file, orders_file, scores_file
from memsifter.params import Params
from memsifter.retrieval.catalogue import method_scores
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> None:
    """Write `data/orders/<dataset>.parquet`: scores of the chosen method (`coarse`) and of each method."""
    retrieval = params.retrieval
    weights = read_weights(fusion_weights_file()).weights
    with_likelihood = None
    if dataset in retrieval.likelihood.datasets:
        with_likelihood = read_weights(fusion_weights_file(), "fitted_likelihood").weights
    names = dict.fromkeys((*method_scores(retrieval), *weights, *(with_likelihood or ())))
    scores = ScoreLists.read(scores_file(dataset), [name for name in names if name != LIKELIHOOD])
    scores.require_finite(f"data/scores/{dataset}.parquet", "repeat score")
    if with_likelihood is not None:
        scores = add_likelihoods(scores, likelihoods_file(dataset))
    methods = combine_scores(scores, retrieval, weights, with_likelihood)
    orders = ScoreLists(scores.question_ids, scores.offsets, {"coarse": methods[retrieval.fusion], **methods})
    orders.require_finite(f"dataset {dataset}", "a weight of retrieval.weights or of data/fusion is too large")
    write_table(orders_file(dataset), orders.to_table())
    logger.info("%d questions: sessions ordered by %s", len(orders.question_ids), retrieval.fusion)


if __name__ == "__main__":
    run_stage(main)

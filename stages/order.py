"""Order the sessions of every question by its coarse scores: python -m stages.order <dataset>."""

import logging

from memsifter.command import run_stage
from memsifter.fusion.combine import combine_scores, read_weights
from memsifter.io.files import write_table
from memsifter.io.paths import fusion_weights_file, orders_file, scores_file
from memsifter.params import Params
from memsifter.retrieval.catalogue import method_scores
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> None:
    """Write `data/orders/<dataset>.parquet`: scores of the chosen method (`coarse`) and of each method."""
    retrieval = params.retrieval
    weights = read_weights(fusion_weights_file()).weights
    names = dict.fromkeys((*method_scores(retrieval), *weights))
    scores = ScoreLists.read(scores_file(dataset), names)
    scores.require_finite(f"data/scores/{dataset}.parquet", "repeat score")
    methods = combine_scores(scores, retrieval, weights)
    orders = ScoreLists(scores.question_ids, scores.offsets, {"coarse": methods[retrieval.fusion], **methods})
    orders.require_finite(f"dataset {dataset}", "a weight of retrieval.weights or of data/fusion is too large")
    write_table(orders_file(dataset), orders.to_table())
    logger.info("%d questions: sessions ordered by %s", len(orders.question_ids), retrieval.fusion)


if __name__ == "__main__":
    run_stage(main)

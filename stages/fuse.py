"""Order the sessions of every question by its coarse scores: python -m stages.fuse <dataset>."""

import logging

from memsifter.command import run_stage
from memsifter.fusion.combine import fuse
from memsifter.fusion.weights import read_weights
from memsifter.io.files import read_parquet, write_table
from memsifter.io.paths import embeddings_file, fusion_weights_file, scores_file
from memsifter.params import Params
from memsifter.retrieval.score_lists import ScoreLists

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> None:
    """Write `data/embeddings/<dataset>.parquet`: `similarities`, which order the sessions, and every other way to."""
    retrieval = params.retrieval
    columns = ["question_id", *retrieval.computed_scores]
    lists = ScoreLists.from_table(read_parquet(scores_file(dataset), columns))
    fused = fuse(lists, retrieval, read_weights(fusion_weights_file()).weights)
    orders = {"similarities": fused.columns[retrieval.fusion], **fused.columns}
    write_table(embeddings_file(dataset), ScoreLists(fused.question_ids, fused.offsets, orders).to_table())
    logger.info("%d questions: sessions ordered by %s", len(fused.question_ids), retrieval.fusion)


if __name__ == "__main__":
    run_stage(main)

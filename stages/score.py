"""Compute the coarse scores of every session for every question: python -m stages.score <dataset>.

It reads the embeddings and needs no model.
"""

import logging

from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import write_table
from memsifter.io.paths import dataset_directory, embeddings_directory, scores_file
from memsifter.params import Params
from memsifter.retrieval.catalogue import computed_scores, needed_units
from memsifter.retrieval.embeddings import load_embeddings
from memsifter.retrieval.scores import score_questions

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> dict[str, float]:
    """Write `data/scores/<dataset>.parquet`, one row per question of all splits."""
    data = load_dataset(dataset_directory(dataset))
    names = computed_scores(params.retrieval)
    embedded = load_embeddings(embeddings_directory(dataset), data, needed_units(names), "m3_lexical" in names)
    scores = score_questions(data, embedded, params.retrieval)
    scores.require_finite(f"dataset {dataset}", "check the embeddings, and repeat embed")
    write_table(scores_file(dataset), scores.to_table())
    logger.info("%d scores of %d sessions written", len(scores.columns), scores.offsets[-1])
    return {"questions": len(scores.question_ids), "scores": len(scores.columns)}


if __name__ == "__main__":
    run_stage(main)

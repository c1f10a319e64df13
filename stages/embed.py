"""Compute the coarse scores of every session for every question: python -m stages.embed <dataset>.

Vectors are looked up in the cache of the model; only texts that were never embedded are computed, on Ray.
"""

import logging

from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import write_table
from memsifter.io.paths import cache_directory, dataset_directory, model_directory, scores_file
from memsifter.params import Params
from memsifter.retrieval.embedder import embed_dataset
from memsifter.retrieval.scores import score_questions

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> dict[str, float]:
    """Write `data/scores/<dataset>.parquet`, one row per question of all splits."""
    data = load_dataset(dataset_directory(dataset))
    model = model_directory(params.embed.model)
    logger.info("%d questions, %d distinct sessions", len(data.questions), len(data.session_keys))
    embedded, computed = embed_dataset(
        data, model, cache_directory("vectors"), params.embed, params.retrieval, params.cluster
    )
    parts = {unit: int(units.offsets[-1]) for unit, units in embedded.units.items()}
    logger.info("%s and %d questions embedded, %d of all texts now", parts, len(data.questions), computed)
    scores = score_questions(data, embedded, params.retrieval)
    write_table(scores_file(dataset), scores.to_table())
    logger.info("%d scores of %d sessions written", len(scores.columns), scores.offsets[-1])
    return {**{f"{unit}s": count for unit, count in parts.items()}, "embedded_now": computed}


if __name__ == "__main__":
    run_stage(main)

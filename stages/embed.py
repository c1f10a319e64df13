"""Embed the questions and the units of the sessions of a dataset: python -m stages.embed <dataset>.

Vectors are looked up in the cache of the model; only texts that were never embedded are computed, on Ray.
"""

import logging

from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.paths import cache_directory, dataset_directory, embeddings_directory, model_directory
from memsifter.params import Params
from memsifter.retrieval.embedder import embed_dataset
from memsifter.retrieval.embedding_tables import write_embeddings

logger = logging.getLogger(__name__)


def main(params: Params, dataset: str) -> dict[str, float]:
    """Write `data/embeddings/<dataset>/`, with the questions of all splits."""
    data = load_dataset(dataset_directory(dataset))
    model = model_directory(params.embed.model)
    logger.info("%d questions, %d distinct sessions", len(data.questions), len(data.asked_keys))
    tables = embed_dataset(data, model, cache_directory("vectors"), params.embed, params.cluster)
    write_embeddings(embeddings_directory(dataset), tables.settings, tables.units, tables.questions)
    logger.info("%d units embedded, %d texts just now", len(tables.units), tables.computed)
    return {"questions": len(tables.questions), "units": len(tables.units), "embedded_now": tables.computed}


if __name__ == "__main__":
    run_stage(main)

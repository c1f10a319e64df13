"""The fitted combiner on LoCoMo, each conversation measured by weights that were fitted on the others."""

from pathlib import Path

import pytest

from memsifter.corpus.sessions import Haystack
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.fusion.fit import fit_fusion
from memsifter.fusion.report import measure_fusion
from memsifter.fusion.training_set import collect_training_set
from memsifter.io.paths import cache_directory
from memsifter.metrics.bootstrap import paired_bootstrap_interval
from memsifter.models.prepare import prepare_model
from memsifter.params import load_params
from memsifter.retrieval.embedder import embed_dataset
from memsifter.retrieval.embedding_tables import write_embeddings
from memsifter.retrieval.embeddings import load_embeddings
from memsifter.retrieval.scores import score_questions


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fitted_weights_beat_the_weights_set_by_hand(shared_data: Path, tmp_path: Path) -> None:
    params = load_params()
    path = str(shared_data / "locomo" / "locomo6.json")
    names = [record.haystack_id for record in read_dataset("locomo", path=path) if isinstance(record, Haystack)]
    write_dataset(read_dataset("locomo", path=path, train_haystacks=names), tmp_path / "locomo")
    dataset = load_dataset(tmp_path / "locomo")
    model = tmp_path / "embedder"
    prepare_model(params.models["embedder"], model)
    tables = embed_dataset(dataset, model, cache_directory("vectors"), params.embed, params.cluster)
    write_embeddings(tmp_path / "embeddings", tables.settings, tables.units, tables.questions)
    embedded = load_embeddings(tmp_path / "embeddings", dataset, ("chunk",), term_weights=False)
    scores = score_questions(dataset, embedded, params.retrieval)
    training = collect_training_set({"locomo": dataset}, {"locomo": scores})
    assert training
    assert training.questions == {"locomo": 883}
    weights = fit_fusion(training, params.retrieval)
    result = measure_fusion(training, {"fitted": weights}, params.retrieval, 2000, params.seed)
    assert result.folds == len(names) == 6
    fitted, hand_weighted = result.values["fitted"], result.values["hand_weighted"]
    assert fitted["NDCG@1"].mean() >= 0.70
    assert fitted["NDCG@5"].mean() >= 0.80
    for metric in ("NDCG@1", "NDCG@5", "NDCG@10"):
        assert paired_bootstrap_interval(fitted[metric], hand_weighted[metric], 2000, params.seed).low > 0, metric

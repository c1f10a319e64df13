"""Stages score and order run from the embeddings alone."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scored_datasets import EMBEDDING_SETTINGS, RETRIEVAL, embed_toy, write_toy

from memsifter.errors import MemSifterError
from memsifter.fusion.combine import write_weights
from memsifter.fusion.fit import fit_fusion
from memsifter.io import paths
from memsifter.io.files import read_parquet, write_table
from memsifter.params import METHODS, Params, load_params
from memsifter.retrieval.embedding_tables import write_embeddings
from memsifter.retrieval.score_lists import ScoreLists
from stages import order, score

PROJECT = paths.ROOT


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset, its embeddings and default weights; no model and no cache."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    dataset = write_toy(paths.dataset_directory("toy"))
    write_embeddings(paths.embeddings_directory("toy"), EMBEDDING_SETTINGS, *embed_toy(dataset))
    write_weights(paths.fusion_weights_file(), fit_fusion(None, RETRIEVAL))
    return tmp_path


@pytest.fixture
def params() -> Params:
    return load_params(PROJECT / "params.yaml").model_copy(update={"retrieval": RETRIEVAL})


def test_scores_become_the_order_of_every_method(root: Path, params: Params) -> None:
    assert score.main(params, "toy") == {"questions": 1, "scores": 5}
    order.main(params, "toy")
    table = read_parquet(root / "data" / "orders" / "toy.parquet")
    assert table.column_names == ["question_id", "coarse", *METHODS[:-1]]
    assert table["coarse"].to_pylist() == table["fitted"].to_pylist()
    assert [len(row) for row in table["coarse"].to_pylist()] == [2]


def test_a_dataset_whose_sessions_were_read_is_ordered_by_their_likelihood_too(root: Path, params: Params) -> None:
    read = RETRIEVAL.model_copy(
        update={
            "fusion": "fitted_likelihood",
            "likelihood": RETRIEVAL.likelihood.model_copy(update={"datasets": ("toy",)}),
        }
    )
    with_likelihood = fit_fusion(None, RETRIEVAL, likelihood=True)
    heavy = replace(with_likelihood, weights={**with_likelihood.weights, "likelihood": 100.0})
    write_weights(paths.fusion_weights_file(), fit_fusion(None, RETRIEVAL), heavy)
    score.main(params, "toy")
    for likelihoods, best in (([-9.0, None], [0, 0]), ([-9.0, -4.0], [0, 100]), ([-4.0, -9.0], [100, 0])):
        lists = pa.array([likelihoods], pa.list_(pa.float32()))
        write_table(paths.likelihoods_file("toy"), pa.table([pa.array(["q0"]), lists], ["question_id", "likelihood"]))
        order.main(params.model_copy(update={"retrieval": read}), "toy")
        table = read_parquet(root / "data" / "orders" / "toy.parquet")
        assert table.column_names == ["question_id", "coarse", *METHODS]
        assert table["coarse"].to_pylist() == table["fitted_likelihood"].to_pylist()
        gained = np.subtract(table["fitted_likelihood"].to_pylist(), table["fitted"].to_pylist())
        np.testing.assert_allclose(gained, [best], atol=1e-5)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_broken_scores_are_refused_before_anything_is_ordered(root: Path, params: Params, broken: float) -> None:
    score.main(params, "toy")
    lists = ScoreLists.from_table(read_parquet(paths.scores_file("toy")))
    columns = {**lists.columns, "date": np.asarray([0.0, broken], dtype=np.float32)}
    write_table(paths.scores_file("toy"), ScoreLists(lists.question_ids, lists.offsets, columns).to_table())
    with pytest.raises(MemSifterError, match=rf"toy\.parquet: date of question 'q0' is {broken}, not a finite number"):
        order.main(params, "toy")
    assert not (root / "data" / "orders").exists()


@pytest.mark.usefixtures("root")
def test_weights_that_are_too_large_are_refused(params: Params) -> None:
    score.main(params, "toy")
    heavy = RETRIEVAL.model_copy(update={"weights": RETRIEVAL.weights.model_copy(update={"dense": 1e308})})
    with pytest.raises(MemSifterError, match=r"hand_weighted of question 'q0' is .*a weight of retrieval\.weights or"):
        order.main(params.model_copy(update={"retrieval": heavy}), "toy")


def test_neither_stage_loads_a_model_s_library(root: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from memsifter.io import paths
        from memsifter.params import load_params
        from stages import order, score

        params = load_params(Path({str(PROJECT / "params.yaml")!r}))
        scores = ("dense_chunk_max", "lexical_phrase", "speaker")
        retrieval = params.retrieval.model_copy(update={{"scores": scores, "fusion": "fitted"}})
        paths.ROOT = Path({str(root)!r})
        for stage in (score, order):
            stage.main(params.model_copy(update={{"retrieval": retrieval}}), "toy")
        print(*sorted({{"torch", "ray", "FlagEmbedding", "transformers", "tokenizers"}} & set(sys.modules)))
    """
    write_weights(paths.fusion_weights_file(), fit_fusion(None, RETRIEVAL.model_copy(update={"scores": ("speaker",)})))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert done.stdout == "\n"
    assert (root / "data" / "orders" / "toy.parquet").is_file()

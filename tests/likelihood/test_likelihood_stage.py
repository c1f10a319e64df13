"""The stage on a small dataset: what it writes, what it reads once only, and what it refuses."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from scored_datasets import EMBEDDING_SETTINGS, RETRIEVAL, embed_toy, write_toy

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.files import read_parquet
from memsifter.io.text_cache import TextCache
from memsifter.likelihood.model import LikelihoodReader, ScoredText
from memsifter.likelihood.pool import LIKELIHOODS_SCHEMA, score_texts
from memsifter.llm import workers
from memsifter.params import ClusterParams, LikelihoodParams, Params, load_params
from memsifter.retrieval.embedding_tables import write_embeddings
from stages import likelihood, score

PROJECT = paths.ROOT
CLUSTER = ClusterParams(address=None, job_server=None, num_cpus=2, num_gpus=0)
SETTINGS = LikelihoodParams(datasets=("toy",), sessions=1, batch_tokens=64, workers=2)
TEXTS = [ScoredText((3, 4, 5, number), 2) for number in range(40)]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    import ray

    ray.shutdown()
    yield
    ray.shutdown()


@pytest.fixture
def root(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of one question to two sessions, and a model."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    dataset = write_toy(paths.dataset_directory("toy"))
    write_embeddings(paths.embeddings_directory("toy"), EMBEDDING_SETTINGS, *embed_toy(dataset))
    shutil.copytree(tiny_model, paths.model_directory("base"))
    return tmp_path


@pytest.fixture
def params() -> Params:
    retrieval = RETRIEVAL.model_copy(update={"likelihood": SETTINGS})
    return load_params(PROJECT / "params.yaml").model_copy(update={"retrieval": retrieval, "cluster": CLUSTER})


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_the_sessions_that_were_read_have_a_likelihood_and_the_others_none(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    score.main(params, "toy")
    metrics = likelihood.main(params, "toy")
    path = root / "data" / "likelihoods" / "toy.parquet"
    (row,) = read_parquet(path, LIKELIHOODS_SCHEMA).to_pylist()
    assert row["question_id"] == "q0"
    (value,) = (value for value in row["likelihood"] if value is not None)
    assert len(row["likelihood"]) == 2
    assert value < 0
    assert value == pytest.approx(round(value, 3), abs=1e-5), "thousandths of a nat"
    assert metrics == {"questions": 1, "sessions_mean": 1, "tokens_mean": row["tokens"]}
    first = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(workers, "start_ray", lambda _: pytest.fail("Ray was started"))
    likelihood.main(params, "toy")
    assert path.read_bytes() == first, "from the cache alone"


@pytest.mark.usefixtures("root")
def test_a_model_that_cannot_read_is_refused_before_work_starts(params: Params, tiny_model: Path) -> None:
    shutil.rmtree(paths.model_directory("base"))
    with pytest.raises(MemSifterError, match=r"no config\.json"):
        likelihood.main(params, "toy")
    shutil.copytree(tiny_model, paths.model_directory("base"))
    with pytest.raises(MemSifterError, match=r"toy\.parquet: no such file; run the stage that writes it"):
        likelihood.main(params, "toy")


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_each_distinct_text_is_read_once_and_an_interrupted_run_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    cache = TextCache(tmp_path / "cache")
    values = score_texts([*TEXTS, *TEXTS[:5]], tiny_model, cache, SETTINGS, CLUSTER)
    assert values[40:] == values[:5]
    reader = LikelihoodReader(str(tiny_model), SETTINGS)
    assert values[:4] == pytest.approx(reader.score(TEXTS[:4]), abs=6e-4)

    interrupted = CountedCache(tmp_path / "interrupted", most=1)
    with pytest.raises(KeyboardInterrupt):
        score_texts(TEXTS, tiny_model, interrupted, SETTINGS, CLUSTER)
    resumed = CountedCache(tmp_path / "interrupted")
    assert score_texts(TEXTS, tiny_model, resumed, SETTINGS, CLUSTER) == values[:40]
    assert interrupted.added in {8, 16}, "a whole batch"
    assert interrupted.added + resumed.added == 40


class CountedCache(TextCache):
    """Counts what is added, and is interrupted as by Ctrl-C after some batches."""

    def __init__(self, directory: Path, most: int = 1000) -> None:
        super().__init__(directory)
        self.added, self._left = 0, most

    def put_all(self, texts: Mapping[str, str]) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        self.added += len(texts)
        super().put_all(texts)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_workers_that_can_never_start_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    greedy = SETTINGS.model_copy(update={"gpus_per_worker": 1.0})
    with pytest.raises(MemSifterError, match=r"retrieval\.likelihood\.workers: needs 2 GPUs at once, Ray has 0"):
        score_texts(TEXTS, tiny_model, TextCache(tmp_path), greedy, CLUSTER)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_value_that_is_not_a_number_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MemSifterError, match=r"a log-likelihood is nan, not a finite number; its weights are damaged"):
        score_texts(TEXTS, broken, TextCache(tmp_path / "cache"), SETTINGS, CLUSTER)

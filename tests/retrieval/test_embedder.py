from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.llm import workers
from memsifter.params import ClusterParams, EmbedParams
from memsifter.retrieval import embedder
from memsifter.retrieval.embedder import embed_dataset, embed_missing
from memsifter.retrieval.embedding_tables import text_key, write_embeddings
from memsifter.retrieval.embeddings import load_embeddings
from memsifter.retrieval.encoder import Encoder, EncoderFiles
from memsifter.retrieval.vectors import VectorCache, part_schema

CLUSTER = ClusterParams(address=None, job_server=None, num_cpus=2, num_gpus=0)
M3 = EmbedParams(
    model="embedder",
    model_class="encoder-only-m3",
    pooling="cls",
    query_instruction="ff ",
    units=("chunk", "turn", "window"),
    window_turns=2,
    token_vectors=True,
    chunk_tokens=16,
    chunk_overlap=4,
    batch_size=1,
    use_fp16=False,
    workers=2,
    cpus_per_worker=1.0,
    gpus_per_worker=0.0,
)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    import ray

    ray.shutdown()
    yield
    ray.shutdown()


def make_dataset(directory: Path) -> Dataset:
    short = Session("s1", "", (Turn("aa", "bb cc"),))
    long = Session("s2", "", tuple(Turn("dd", "ee ff bb cc aa") for _ in range(6)))
    same = Session("s3", "later", short.turns)
    question = Question("q", "test", "h", "ee bb", "", "", "", ())
    write_dataset([Haystack("h", (short, long, same)), question], directory)
    return load_dataset(directory)


def keyed(texts: list[str]) -> dict[bytes, str]:
    return {text_key(text): text for text in texts}


def test_nothing_starts_when_every_vector_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = VectorCache(tmp_path)
    texts = keyed(["a", "bb"])
    rows = [{"key": key, "vector": [1.0], "token_ids": [], "token_weights": []} for key in texts]
    cache.append(pa.Table.from_pylist(rows, schema=part_schema(1)))
    monkeypatch.setattr(workers, "start_ray", lambda _: pytest.fail("Ray was started"))
    assert embed_missing(texts, cache, EncoderFiles(tmp_path, M3), 32, CLUSTER) == 0


def test_chunks_longer_than_the_model_reads_are_refused(tiny_m3: Path, tmp_path: Path) -> None:
    params = M3.model_copy(update={"chunk_tokens": 33})
    with pytest.raises(MemSifterError, match=r"embed\.chunk_tokens is 33; .* reads at most 32 tokens"):
        embed_dataset(make_dataset(tmp_path / "data"), tiny_m3, tmp_path, params, CLUSTER)


def test_an_m3_model_needs_its_heads(tiny_m3: Path, tmp_path: Path) -> None:
    headless = tmp_path / "headless"
    headless.mkdir()
    for path in tiny_m3.iterdir():
        if path.name != "sparse_linear.pt":
            (headless / path.name).write_bytes(path.read_bytes())
    with pytest.raises(MemSifterError, match=r"lacks sparse_linear\.pt"):
        embed_dataset(make_dataset(tmp_path / "data"), headless, tmp_path, M3, CLUSTER)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_every_distinct_text_is_embedded_once_and_found_again(
    tiny_m3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "_MIN_BLOCK", 2)
    monkeypatch.setattr(embedder, "_BATCHES_PER_BLOCK", 2)
    dataset = make_dataset(tmp_path / "data")
    tables = embed_dataset(dataset, tiny_m3, tmp_path / "cache", M3, CLUSTER)
    write_embeddings(tmp_path / "d", tables.settings, tables.units, tables.questions)
    embedded = load_embeddings(tmp_path / "d", dataset, M3.units, term_weights=True)
    chunks = embedded.units["chunk"]
    assert np.diff(chunks.offsets)[0] == 1
    assert np.diff(chunks.offsets)[1] > 1
    assert embedded.units["turn"].offsets.tolist() == [0, 1, 7]
    assert embedded.units["window"].offsets.tolist() == [0, 1, 6]
    vectors = [embedded.questions.dense, *(units.embeddings.dense for units in embedded.units.values())]
    assert tables.computed == len(np.unique(np.concatenate(vectors), axis=0))
    parts = sorted((tmp_path / "cache").glob("*/*.arrow"))
    assert len(parts) == -(-tables.computed // 2)

    encoded = Encoder(str(tiny_m3), M3, 32).encode(["ff ee bb"])
    np.testing.assert_array_equal(embedded.questions.dense, encoded.vectors)
    found = embedded.questions.lexical.tocoo()
    assert dict(zip(found.col.tolist(), found.data.tolist(), strict=True)) == {
        int(token): pytest.approx(float(weight)) for token, weight in encoded.term_weights[0].items()
    }
    np.testing.assert_allclose(embedded.questions.tokens.vectors, encoded.tokens[0], atol=1e-3)  # half precision

    lost = len(pa.ipc.open_file(parts[0]).read_all())
    parts[0].unlink()
    again = embed_dataset(dataset, tiny_m3, tmp_path / "cache", M3, CLUSTER)
    assert again.computed == lost
    write_embeddings(tmp_path / "again", again.settings, again.units, again.questions)
    for path in (tmp_path / "d").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_workers_that_can_never_start_are_refused(tmp_path: Path) -> None:
    greedy = M3.model_copy(update={"gpus_per_worker": 1.0})
    with pytest.raises(MemSifterError, match=r"embed\.workers: needs 1 GPUs at once, Ray has 0"):
        embed_missing(keyed(["aa"]), VectorCache(tmp_path), EncoderFiles(tmp_path, greedy), 32, CLUSTER)

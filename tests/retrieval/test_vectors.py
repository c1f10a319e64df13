import logging
import multiprocessing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memsifter.errors import MemSifterError
from memsifter.retrieval.embedding_tables import text_key
from memsifter.retrieval.embeddings import Embeddings
from memsifter.retrieval.vectors import VectorCache, part_schema

DIMENSIONS = 5


def make_rows(texts: list[str]) -> pa.Table:
    rows = [
        {
            "key": text_key(text),
            "vector": [float(len(text))] * DIMENSIONS,
            "token_ids": [1, 4],
            "token_weights": [0.5, 2],
        }
        for text in texts
    ]
    return pa.Table.from_pylist(rows, schema=part_schema(DIMENSIONS))


def append_many(directory: Path, first: int) -> None:
    for number in range(first, first + 10):
        VectorCache(directory).append(make_rows(["x" * number]))


def test_vectors_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.append(make_rows(["a", "bb"]))
    cache.append(make_rows(["ccc"]))
    found = Embeddings.from_table(cache.read([text_key(text) for text in ("ccc", "a", "ccc", "bb")]), 5)
    assert found.dense.dtype == np.float32
    assert found.dense.tolist() == [[n] * DIMENSIONS for n in (3, 1, 3, 2)]
    assert found.lexical.toarray().tolist() == [[0, 0.5, 0, 0, 2]] * 4
    assert found.rows(np.asarray([1])).dense.tolist() == [[1] * DIMENSIONS]


def test_missing_texts_are_named_and_cannot_be_read(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "new")
    keys = [text_key("a"), text_key("b")]
    assert cache.missing(keys).tolist() == [True, True]
    cache.append(make_rows(["b"]))
    assert cache.missing(keys).tolist() == [True, False]
    with pytest.raises(MemSifterError, match="1 of 2 vectors are missing"):
        cache.read(keys)


def test_models_without_term_weights_have_an_empty_lexical_part(tmp_path: Path) -> None:
    row = {"key": text_key("a"), "vector": [1.0] * DIMENSIONS, "token_ids": [], "token_weights": []}
    VectorCache(tmp_path).append(pa.Table.from_pylist([row], schema=part_schema(DIMENSIONS)))
    found = Embeddings.from_table(VectorCache(tmp_path).read([text_key("a")] * 3), 1)
    assert found.lexical.nnz == 0
    assert (found.lexical @ found.lexical.T).shape == (3, 3)


def test_token_vectors_are_kept_end_to_end(tmp_path: Path) -> None:
    texts = {"a": [[1.0, 0.0]], "bb": [[0.0, 1.0], [0.5, 0.25], [1.0, 0.0]]}
    rows = [
        {"key": text_key(text), "vector": [1.0, 0.0], "token_ids": [], "token_weights": []}
        | {"token_vectors": np.ravel(tokens).astype(np.float16)}
        for text, tokens in texts.items()
    ]
    VectorCache(tmp_path).append(pa.Table.from_pylist(rows, schema=part_schema(2, token_vectors=True)))
    found = Embeddings.from_table(VectorCache(tmp_path).read([text_key(text) for text in ("bb", "a", "bb")]), 1).tokens
    assert found.count == 3
    assert found.vectors.dtype == np.float32
    assert found.rows(np.asarray([1, 0])).vectors.tolist() == texts["a"] + texts["bb"]
    assert found.rows(np.asarray([1, 0])).offsets.tolist() == [0, 1, 4]


def test_keys_that_are_asked_for_twice_or_stored_twice_are_found(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    assert cache.missing([]).tolist() == []
    cache.append(make_rows(["xx", "y"]))
    assert cache.missing([text_key("xx"), text_key("z"), text_key("xx")]).tolist() == [False, True, False]
    cache.append(make_rows(["xx", "z"]))
    found = cache.read([text_key(text) for text in ("z", "xx", "z", "y", "xx")])["vector"].to_pylist()
    assert [vector[0] for vector in found] == [1, 2, 1, 1, 2]


def test_adding_leaves_earlier_parts_untouched(tmp_path: Path) -> None:
    VectorCache(tmp_path).append(make_rows(["a"]))
    [first] = tmp_path.iterdir()
    before = (first.stat().st_mtime_ns, first.stat().st_ino, first.read_bytes())
    VectorCache(tmp_path).append(make_rows(["a", "b"]))
    assert (first.stat().st_mtime_ns, first.stat().st_ino, first.read_bytes()) == before
    assert len(list(tmp_path.iterdir())) == 2


def test_two_processes_can_add_at_once(tmp_path: Path) -> None:
    processes = [multiprocessing.Process(target=append_many, args=(tmp_path, first)) for first in (1, 6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    keys = [text_key("x" * number) for number in range(1, 16)]
    vectors = VectorCache(tmp_path).read(keys)["vector"].to_pylist()
    assert [vector[0] for vector in vectors] == list(range(1, 16))
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_a_broken_part_is_reported_and_its_vectors_are_missing(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = VectorCache(tmp_path)
    cache.append(make_rows(["a"]))
    [part] = tmp_path.iterdir()
    whole = part.read_bytes()
    part.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"\x00garbage" * 50}[damage])
    cache.append(make_rows(["b"]))
    cache = VectorCache(tmp_path)  # a later run
    with caplog.at_level(logging.WARNING):
        missing = cache.missing([text_key("a"), text_key("b")])
    assert missing.tolist() == [True, False]
    assert part.name in caplog.text
    cache.append(make_rows(["a"]))
    assert cache.read([text_key("a")])["vector"].to_pylist() == [[1.0] * DIMENSIONS]


def test_unfinished_files_are_not_parts(tmp_path: Path) -> None:
    VectorCache(tmp_path).append(make_rows(["a"]))
    [part] = tmp_path.iterdir()
    part.rename(tmp_path / f".{part.name}.x1.tmp")
    assert VectorCache(tmp_path).missing([text_key("a")]).tolist() == [True]

"""The files of RL data: shards, order, numbers, version."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import rl_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.reward.sample import EXTRA_INFO, read_sample
from memsifter.rl_data.rows import ROW_SCHEMA, Row, hash_rows, shuffle_rows, write_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], list[Row]]:
    dataset = samples.write_sample(samples.questions(), tmp_path_factory.mktemp("rl") / "data")
    prepared = samples.prepare(dataset, train=7)
    return prepared.train, prepared.test


def named(name: str, dataset: str = "d") -> Row:
    return {"data_source": dataset, "extra_info": {"question_id": name}}


def read(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


@pytest.mark.parametrize(("shard_rows", "sizes"), [(3, [3, 3, 1]), (7, [7]), (4096, [7]), (1, [1] * 7)])
def test_train_rows_are_sharded_and_numbered(
    rows: tuple[list[Row], list[Row]], shard_rows: int, sizes: list[int], tmp_path: Path
) -> None:
    train, test = rows
    written = write_rows(tmp_path, train, test, shard_rows, "v1")
    names = [f"train_{number}.parquet" for number in range(len(sizes))]
    assert written == {**dict(zip(names, sizes, strict=True)), "test.parquet": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
    stored = [row for name in names for row in read(tmp_path / name)]
    for split, expected, found in (("train", train, stored), ("test", test, read(tmp_path / "test.parquet"))):
        assert [row["extra_info"]["index"] for row in found] == list(range(len(expected)))
        assert {(row["extra_info"]["split"], row["extra_info"]["version"]) for row in found} == {(split, "v1")}
        for row, original in zip(found, expected, strict=True):
            assert read_sample(row["extra_info"]) == read_sample(original["extra_info"])
            assert row["prompt"] == original["prompt"]


def test_the_schema_is_that_of_verl_and_of_the_reward(rows: tuple[list[Row], list[Row]], tmp_path: Path) -> None:
    write_rows(tmp_path, *rows, shard_rows=9, version="v1")
    schema = pq.read_schema(tmp_path / "train_0.parquet")
    assert schema == ROW_SCHEMA
    assert schema.names == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert schema.field("extra_info").type == EXTRA_INFO
    (row, *_) = read(tmp_path / "train_0.parquet")
    assert all(value is not None for value in row["extra_info"].values())


def test_many_rows_keep_their_order(rows: tuple[list[Row], list[Row]], tmp_path: Path) -> None:
    train = [{**row, "ability": str(number)} for number, row in enumerate(rows[0] * 20)]
    write_rows(tmp_path, train, rows[1], shard_rows=100, version="v1")
    found = [row for number in range(2) for row in read(tmp_path / f"train_{number}.parquet")]
    assert [row["ability"] for row in found] == [str(row["extra_info"]["index"]) for row in found]
    assert len(found) == 140


def test_the_same_rows_give_the_same_bytes(rows: tuple[list[Row], list[Row]], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name, *rows, shard_rows=4, version="v1")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_version_is_that_of_the_content(rows: tuple[list[Row], list[Row]]) -> None:
    train, test = rows
    version = hash_rows(train, test)
    assert len(version) == 16
    assert int(version, 16) >= 0
    assert version == hash_rows([dict(reversed(row.items())) for row in train], test), "whatever the order of keys"
    changed = {**train[0], "extra_info": {**train[0]["extra_info"], "answer": "?"}}
    others = [(train[::-1], test), (train[1:], test), ([changed, *train[1:]], test), ([*train, test[0]], test[1:])]
    assert len({version, *(hash_rows(*other) for other in others)}) == 5


@given(st.sets(st.tuples(st.sampled_from("ab"), st.text(max_size=4)), min_size=1, max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_shuffling_depends_on_the_seed_alone(names: set[tuple[str, str]], data: st.DataObject) -> None:
    given_rows = [named(name, dataset) for dataset, name in sorted(names)]
    shuffled = shuffle_rows(given_rows, seed=3)
    assert shuffled == shuffle_rows(data.draw(st.permutations(given_rows)), seed=3)
    assert sorted(map(str, shuffled)) == sorted(map(str, given_rows))


def test_datasets_are_mixed() -> None:
    shuffled = shuffle_rows([named(str(number), dataset) for dataset in "ab" for number in range(50)], seed=3)
    first_half = [row["data_source"] for row in shuffled[:50]]
    assert 15 <= first_half.count("a") <= 35
    assert shuffled != shuffle_rows(shuffled, seed=4)

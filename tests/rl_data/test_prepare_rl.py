"""The prepare_rl stage in a root of its own: files in, files out, and their reports."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rl_samples as samples

from memsifter.corpus.sessions import Split
from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.files import write_parquet
from memsifter.params import Params, load_params
from stages import prepare_rl

DATASETS = ("ranked", "unranked")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two datasets with coarse scores; the ranker has ranked the train questions of the first only."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    samples.TOKENIZER.save_pretrained(paths.model_directory("base"))
    for name in DATASETS:
        dataset = samples.write_sample(samples.questions(train=20, test=8), paths.dataset_directory(name))
        scores = {key: value.tolist() for key, value in samples.coarse_scores(dataset).items()}
        _write(paths.orders_file(name), "coarse", pa.float32(), scores)
        splits: tuple[Split, ...] = ("train", "test") if name == "ranked" else ("test",)
        rankings = {key: value for split in splits for key, value in samples.rankings(dataset, split).items()}
        _write_rankings(paths.rankings_file("base", name), rankings)
    return tmp_path


def _write(path: Path, column: str, kind: pa.DataType, values: dict[str, list[Any]]) -> None:
    schema = pa.schema([("question_id", pa.string()), (column, pa.list_(kind))])
    write_parquet(path, [{"question_id": name, column: value} for name, value in values.items()], schema)


def _write_rankings(path: Path, rankings: dict[str, list[Any]]) -> None:
    columns = ("own_order", "ranking")
    schema = pa.schema([("question_id", pa.string()), *((name, pa.list_(pa.string())) for name in columns)])
    rows = [{"question_id": name, **dict.fromkeys(columns, ranking)} for name, ranking in rankings.items()]
    write_parquet(path, rows, schema)


def params(**changes: Any) -> Params:
    """A round that takes 12 of the ranked and 6 of the unranked dataset, in shards of 7 rows."""
    default = load_params()
    values = default.model_dump(mode="json")
    recipe = {
        "ranked": {"train": 12, "test": 4, "test_split": "train"},
        "unranked": {"train": 6, "test": 2, "test_split": "test"},
    }
    values["datasets"] = dict.fromkeys(DATASETS, values["datasets"]["sample"])
    values["matrix"]["datasets"] = values["retrieval"]["fit"]["datasets"] = list(DATASETS)
    values["retrieval"]["likelihood"]["datasets"] = list(DATASETS)
    values["rounds"]["round1"] |= {"recipe": recipe, "shard_rows": 7} | changes
    for section in ("rank", "chat"):
        engine = values[section]["engine"] | {"max_model_len": 8192, "max_num_batched_tokens": 8192}
        values[section] |= {"context_tokens": 4000, "view": "whole", "session_tokens": None, "engine": engine}
    return Params.model_validate_json(json.dumps(values))


def read_rows(root: Path, pattern: str) -> list[dict[str, Any]]:
    files = sorted((root / "data" / "rl" / "round1").glob(pattern))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_sizes_are_exact_and_train_and_test_are_apart(root: Path) -> None:
    metrics = prepare_rl.main(params(), "round1")
    directory = root / "data" / "rl" / "round1"
    names = ["README.md", "report.json", "test.parquet", "train_0.parquet", "train_1.parquet", "train_2.parquet"]
    assert sorted(path.name for path in directory.iterdir()) == names
    train, test = read_rows(root, "train_*.parquet"), read_rows(root, "test.parquet")
    assert (metrics["train_rows"], metrics["test_rows"]) == (len(train), len(test)) == (18, 6)
    assert [row["data_source"] for row in test] == ["ranked"] * 4 + ["unranked"] * 2
    assert {row["data_source"] for row in train[:7]} == set(DATASETS), "shuffled"
    taken = [{(row["data_source"], row["extra_info"]["question_id"]) for row in rows} for rows in (train, test)]
    assert (len(taken[0]), len(taken[1])) == (18, 6)
    assert taken[0].isdisjoint(taken[1])
    assert not any(name.startswith("test") for _, name in taken[0])


def test_the_report_says_what_was_done(root: Path) -> None:
    prepare_rl.main(params(), "round1")
    report = json.loads((root / "data" / "rl" / "round1" / "report.json").read_text())
    assert report["rows"] == {"train": 18, "test": 6}
    assert report["files"] == {"train_0.parquet": 7, "train_1.parquet": 7, "train_2.parquet": 4, "test.parquet": 6}
    ranked, unranked = report["datasets"]["ranked"], report["datasets"]["unranked"]
    assert (ranked["method"], ranked["ndcg"]["ranking"]) == ("anchor", "base")
    assert (unranked["method"], unranked["ndcg"]["ranking"]) == ("random", "coarse")
    assert ranked["splits"] == {"train": {"available": 20, "train": 12, "test": 4, "not_drawn": 4, "dropped": {}}}
    assert unranked["splits"]["test"] == {"available": 8, "train": 0, "test": 2, "not_drawn": 6, "dropped": {}}
    assert [sum(entry["ndcg"]["histogram"]) for entry in (ranked, unranked)] == [12, 6]
    assert {row["extra_info"]["version"] for row in read_rows(root, "t*.parquet")} == {report["version"]}
    page = (root / "reports" / "rl" / "round1" / "report.md").read_text()
    assert "- ranked: drawn nearest to 0.2 in the rankings of `base`" in page
    assert "- unranked: drawn at random" in page
    with (root / "reports" / "rl" / "round1" / "ndcg.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["ndcg"] for row in rows[:10]] == [row["ndcg"] for row in rows[10:]]
    assert [int(row["count"]) for row in rows[:10]] == ranked["ndcg"]["histogram"]


def test_a_second_run_gives_the_same_bytes_and_a_given_version_is_kept(root: Path) -> None:
    directory = root / "data" / "rl" / "round1"
    prepare_rl.main(params(), "round1")
    first = {path.name: path.read_bytes() for path in directory.iterdir()}
    prepare_rl.main(params(), "round1")
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == first
    prepare_rl.main(params(version="mine", shard_rows=100), "round1")
    assert sorted(path.name for path in directory.iterdir()) == [
        "README.md",
        "report.json",
        "test.parquet",
        "train_0.parquet",
    ]
    assert {row["extra_info"]["version"] for row in read_rows(root, "t*.parquet")} == {"mine"}


def test_an_error_leaves_the_data_as_it_was(root: Path) -> None:
    prepare_rl.main(params(), "round1")
    paths.rankings_file("base", "ranked").unlink()
    with pytest.raises(MemSifterError, match=r"ranked\.parquet: no such file; run the stage that writes it"):
        prepare_rl.main(params(), "round1")
    assert len(read_rows(root, "train_*.parquet")) == 18

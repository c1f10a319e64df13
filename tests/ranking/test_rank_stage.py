"""The rank stage in a root of its own: a coarse order that stands in for a ranker, and a tiny LLM."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.datasets import read
from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.files import read_parquet, write_parquet
from memsifter.models import prepare_model
from memsifter.params import ModelParams, Params, load_params
from memsifter.ranking.weight import read_rank_fusion
from stages import rank


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A small sample dataset, two coarse orders of it, and three references to orders as models."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    source = params().datasets["sample"]
    write_dataset(read(source, "sample"), paths.dataset_directory("sample"))
    data = load_dataset(paths.dataset_directory("sample"))
    rng = np.random.default_rng(3)
    rows = [
        {
            "question_id": question.question_id,
            "coarse": rng.normal(size=len(data.haystack_of(question).session_ids)).tolist(),
            "dense": list(range(len(data.haystack_of(question).session_ids))),
        }
        for question in data.questions
    ]
    scores = [(name, pa.list_(pa.float32())) for name in ("coarse", "dense")]
    write_parquet(paths.orders_file("sample"), rows, pa.schema([("question_id", pa.string()), *scores]))
    for name, ref in {"coarse": "order:coarse", "recent": "order:dense", "lexical": "order:lexical"}.items():
        prepare_model(ModelParams(ref=ref, sha256=None), paths.model_directory(name))
    return data


def params() -> Params:
    values = load_params().model_dump(mode="json")
    values["datasets"]["sample"] |= {"haystacks": 4, "sessions": 12, "questions": 4}
    return Params.model_validate_json(json.dumps(values))


def ranked(ranker: str) -> dict[str, dict[str, Any]]:
    rank.main(params(), ranker, "sample")
    return {row["question_id"]: row for row in read_parquet(paths.rankings_file(ranker, "sample")).to_pylist()}


def test_an_order_needs_no_model(dataset: Dataset) -> None:
    rows = ranked("recent")
    tested = [question for question in dataset.questions if question.split == "test"]
    assert list(rows) == [question.question_id for question in tested]
    for question in tested:
        row = rows[question.question_id]
        assert row["ranking"] == list(reversed(dataset.haystack_of(question).session_ids))
        assert row["scores"] == list(range(11, -1, -1))
        assert row["candidates"] == []
    assert read_rank_fusion(paths.rank_fusion_file("recent", "sample")).method == "order"


@pytest.mark.usefixtures("dataset")
def test_an_order_that_was_not_computed_is_one_clear_error() -> None:
    with pytest.raises(MemSifterError, match=r"orders/sample\.parquet: column\(s\) lexical missing"):
        ranked("lexical")


@pytest.mark.usefixtures("dataset")
def test_a_dataset_without_a_question_to_rank_is_one_clear_error() -> None:
    records = read(params().datasets["sample"], "sample")
    train = (replace(record, split="train") if isinstance(record, Question) else record for record in records)
    write_dataset(train, paths.dataset_directory("sample"))
    prepare_model(ModelParams(ref="tiny:7", sha256=None), paths.model_directory("other"))
    with pytest.raises(MemSifterError, match=r"sample has no question in split\(s\) test; see rank\.splits"):
        ranked("other")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_ranker_that_knows_nothing_leaves_the_coarse_order(dataset: Dataset) -> None:
    prepare_model(ModelParams(ref="tiny:7", sha256=None), paths.model_directory("base"))
    rows, coarse = ranked("base"), ranked("coarse")
    assert len(rows) == len(dataset.questions), "base ranks the train questions, too: a round starts from it"
    assert read_rank_fusion(paths.rank_fusion_file("base", "sample")).weight == 0
    for name, row in coarse.items():
        assert rows[name]["ranking"] == row["ranking"]
        count = len(rows[name]["candidates"])
        assert rows[name]["response"].startswith("<think></think><ranking>")
        assert np.exp(rows[name]["scores"][:count]).sum() == pytest.approx(1, abs=1e-3)
        assert sorted(rows[name]["own_order"]) == sorted(rows[name]["candidates"])
        assert rows[name]["response_tokens"] == 1

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from flat_files import write_flat

from memsifter.corpus.records import Issue, Record
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets import read, read_dataset
from memsifter.datasets.flat import FlatReader
from memsifter.datasets.registry import READERS
from memsifter.datasets.sample.reader import SampleReader
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import Params, parse_params

SAMPLE = SampleReader(seed=1, haystacks=3, sessions=8, questions=4, train_fraction=0.0)


@pytest.fixture
def flat_file(tmp_path: Path) -> Path:
    write_dataset(read(SAMPLE), tmp_path / "sample")
    write_flat(load_dataset(tmp_path / "sample"), tmp_path / "mine.parquet")
    return tmp_path / "mine.parquet"


def records_of(kind: type[Any], records: Sequence[Record]) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def test_sample_needs_no_parameters() -> None:
    records = list(read_dataset("sample"))
    assert len(records_of(Haystack, records)) == 6
    assert len(records_of(Question, records)) == 60


def test_a_path_is_a_flat_file(flat_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(read(SAMPLE))
    assert list(read_dataset(flat_file)) == expected
    monkeypatch.chdir(flat_file.parent)
    assert list(read_dataset("mine.parquet")) == expected
    assert list(read_dataset("flat", path="mine.parquet")) == expected


def test_a_reader_takes_its_parameters(tmp_path: Path) -> None:
    turn = {"speaker": "Ann", "dia_id": "D1:1", "text": "Hi"}
    qa = [{"question": f"{n}?", "answer": "x", "evidence": ["D1:1"], "category": n} for n in (1, 2, 5)]
    conversation = {"session_1": [turn], "session_1_date_time": "May"}
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([{"sample_id": "c", "conversation": conversation, "qa": qa}]))
    default = list(read_dataset("locomo", path=path))
    assert [question.category for question in records_of(Question, default)] == ["multi-hop", "temporal"]
    chosen = list(read_dataset("locomo", path=path, categories=[5], split="train"))
    assert [(question.category, question.split) for question in records_of(Question, chosen)] == [
        ("adversarial", "train")
    ]


def test_sessions_come_in_the_order_of_their_dates(tmp_path: Path) -> None:
    """LongMemEval's own oracle file is not sorted."""
    dates = ["2023/05/30 (Tue) 10:00", "2023/05/20 (Sat) 02:11", "2023/05/28 (Sun) 23:59"]
    row = {
        "question_id": "q",
        "question_type": "temporal",
        "question": "?",
        "question_date": "2023/06/01 (Thu) 08:00",
        "answer": "x",
        "haystack_session_ids": ["a", "b", "c"],
        "haystack_dates": dates,
        "haystack_sessions": [[{"role": "user", "content": name}] for name in "abc"],
        "answer_session_ids": ["c"],
    }
    path = tmp_path / "oracle.json"
    path.write_text(json.dumps([row]))
    issue, haystack, question = read_dataset("longmemeval", path=path)
    assert isinstance(haystack, Haystack)
    assert [session.session_id for session in haystack.sessions] == ["b", "c", "a"]
    assert issue == Issue("sessions_out_of_order", f"haystack {haystack.haystack_id!r}: 3 of 3 sessions have another "
                          "place by their dates")  # fmt: skip
    assert isinstance(question, Question)
    assert question.answer_session_ids == ("c",)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("locomoo", {}, "'locomoo' is neither a reader nor a file; did you mean locomo?"),
        ("no/such.parquet", {}, "neither a reader nor a file; readers: sample, locomo, longmemeval, flat"),
        ("sample", {"seeds": 1}, "dataset 'sample': seeds: Extra inputs are not permitted"),
        ("sample", {"sessions": 3}, "dataset 'sample': sessions: Input should be greater than or equal to 8"),
        ("longmemeval", {}, "dataset 'longmemeval': give a path, or a url with its sha256"),
        ("longmemeval", {"path": "/no/such.json"}, r"/no/such\.json: no such file"),
    ],
)
def test_a_wrong_call_fails_at_once(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(MemSifterError, match=message):
        read_dataset(name, **params)


def test_chosen_haystacks_form_the_train_split(flat_file: Path) -> None:
    params = FlatReader(path=str(flat_file), train_haystacks=("sample-000", "sample-002"))
    splits = {question.haystack_id: question.split for question in records_of(Question, list(read(params)))}
    assert splits == {"sample-000": "train", "sample-001": "test", "sample-002": "train"}


def test_a_train_haystack_that_does_not_exist_is_named(flat_file: Path, tmp_path: Path) -> None:
    params = FlatReader(path=str(flat_file), train_haystacks=("sample-001", "sample-009"))
    with pytest.raises(MemSifterError, match=r"datasets\.mine\.train_haystacks: no haystack sample-009;"):
        write_dataset(read(params, dataset="mine"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_schema_of_the_parameters_has_an_entry_for_every_reader() -> None:
    """`memsifter.params` looks readers up late; what documents the parameters must see all of them nevertheless."""
    definitions = Params.model_json_schema()["$defs"]
    described = {schema["properties"]["reader"]["const"] for name, schema in definitions.items() if "Reader" in name}
    assert described == set(READERS)


def test_a_readers_own_parameters_are_stored_with_the_run() -> None:
    """What is logged to MLflow and written on cards is this dump."""
    params = parse_params(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert params.model_dump(mode="json")["datasets"]["sample"]["haystacks"] == 10

"""The list of the questions that a ranker has seen."""

from pathlib import Path

import pytest
import rl_samples as samples

from memsifter.errors import MemSifterError
from memsifter.io.files import write_json
from memsifter.models.references import fingerprint_model
from memsifter.models.trained_on import TRAINED_ON_FILE, join_seen, read_round_questions, read_trained_on
from memsifter.rl_data.rows import write_rows


def test_a_rounds_questions_are_those_of_all_its_rows(tmp_path: Path) -> None:
    prepared = samples.prepare(samples.write_sample(samples.questions(), tmp_path / "data"), train=7)
    (tmp_path / "rl").mkdir()
    write_rows(tmp_path / "rl", prepared.train, prepared.test, shard_rows=3, version="v1")
    (seen,) = read_round_questions(tmp_path / "rl").values()
    rows = (*prepared.train, *prepared.test)
    assert seen == sorted({row["extra_info"]["question_id"] for row in rows})


def test_a_round_adds_to_what_the_model_had_seen_before() -> None:
    assert join_seen({"b": ["q2"], "a": ["q1"]}, {"b": ["q1", "q2"]}) == {"a": ["q1"], "b": ["q1", "q2"]}


def test_a_model_without_the_file_has_seen_nothing_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path) == {}
    write_json(tmp_path / TRAINED_ON_FILE, {"a": "q1"})
    with pytest.raises(MemSifterError, match=r"trained_on\.json: not question ids by dataset"):
        read_trained_on(tmp_path)


def test_the_list_does_not_change_what_a_model_is(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {})
    before = fingerprint_model(tmp_path)
    write_json(tmp_path / TRAINED_ON_FILE, {"a": ["q1"]})
    assert fingerprint_model(tmp_path) == before

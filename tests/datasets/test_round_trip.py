"""Flat files, read into our tables and written flat again, lose nothing: on the real files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flat_files import write_flat

from memsifter.corpus.records import Record
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.datasets.flat import FlatReader
from memsifter.datasets.io.rows import iter_rows


def to_flat(records: Iterable[Record], directory: Path, suffix: str) -> Path:
    write_dataset(records, directory / "processed")
    write_flat(load_dataset(directory / "processed"), path := directory / f"flat{suffix}")
    return path


def decoded(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"haystack_sessions": json.loads(row["haystack_sessions"])}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("reader", "name", "params"),
    [
        ("locomo", "locomo/locomo6.json", {"categories": [3]}),  # one of five, since each row repeats its haystack
        ("longmemeval", "longmemeval/longmemeval_s_9q.json", {}),
        ("hotpotqa", "hotpotqa/dev_100.json", {}),
        ("trajectory", "webdancer/sample_traj.jsonl", {"per_haystack": 5}),
    ],
)
def test_a_flat_file_is_reproduced_byte_by_byte(
    reader: str, name: str, params: dict[str, Any], suffix: str, shared_data: Path, tmp_path: Path
) -> None:
    first = to_flat(read_dataset(reader, path=shared_data / name, **params), tmp_path / "first", suffix)
    second = to_flat(FlatReader(split="train").read(first), tmp_path / "second", suffix)
    assert first.read_bytes() == second.read_bytes()


def test_a_real_file_in_the_published_layout_keeps_every_field(shared_data: Path, tmp_path: Path) -> None:
    """The file of LongMemEval has the published fields; each comes back, with every turn and in the same order."""
    source = shared_data / "longmemeval" / "longmemeval_s_9q.json"
    flat = to_flat(FlatReader().read(source), tmp_path, ".parquet")
    rows = [decoded(row.fields()) for row in iter_rows(flat)]
    raw = json.loads(source.read_text())
    assert len(rows) == len(raw) == 9
    for row, original in zip(rows, raw, strict=True):
        for turn in (turn for session in original["haystack_sessions"] for turn in session):
            turn.pop("has_answer", None)  # reported as turn_field_not_kept
        expected = original | {"category": original["question_type"]}
        del expected["question_type"]
        assert {name: row[name] for name in expected} == expected

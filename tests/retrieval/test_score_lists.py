from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from memsifter.errors import MemSifterError
from memsifter.io.files import read_parquet, write_table
from memsifter.retrieval.score_lists import ScoreLists

LISTS = ScoreLists(
    ("q1", "q2", "q3"),
    np.asarray([0, 2, 3, 6]),
    {"a": np.arange(6, dtype=np.float32), "b": np.arange(6, dtype=np.float32) / 7},
)


def test_lists_are_written_and_read_back(tmp_path: Path) -> None:
    write_table(tmp_path / "scores.parquet", LISTS.to_table())
    table = read_parquet(tmp_path / "scores.parquet", ["question_id", "a", "b"])
    assert table["a"].to_pylist() == [[0, 1], [2], [3, 4, 5]]
    found = ScoreLists.from_table(table)
    assert found.question_ids == LISTS.question_ids
    assert found.offsets.tolist() == LISTS.offsets.tolist()
    assert all(np.array_equal(found.columns[name], LISTS.columns[name]) for name in ("a", "b"))


def test_some_questions_are_selected_in_the_order_given() -> None:
    chosen = LISTS.select(np.asarray([2, 0]))
    assert chosen.question_ids == ("q3", "q1")
    assert chosen.offsets.tolist() == [0, 3, 5]
    assert chosen.columns["a"].tolist() == [3, 4, 5, 0, 1]


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("b", [["x"], ["y"], ["z"]], "string> instead of list<item: float>"),
        ("b", pa.nulls(3, pa.list_(pa.float32())), "column b holds nulls"),
        ("b", pa.array([[1], [2], [3]], pa.list_(pa.float32())), "the scores of a question differ in number"),
        ("question_id", ["q1", "q2", "q1"], "a question stands there twice"),
    ],
)
def test_a_damaged_file_is_named(name: str, column: Any, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(path, LISTS.to_table())
    assert ScoreLists.read(path, ["a", "b"]).question_ids == LISTS.question_ids
    table = LISTS.to_table()
    write_table(path, table.set_column(table.column_names.index(name), name, pa.array(column)))
    with pytest.raises(MemSifterError) as caught:
        ScoreLists.read(path, ["a", "b"])
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)

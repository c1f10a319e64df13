"""The likelihood as a feature, and its file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_datasets import random_scores

from memsifter.errors import MemSifterError
from memsifter.fusion.combine import feature
from memsifter.fusion.likelihood import add_likelihoods, likelihood_feature
from memsifter.io.files import write_table

LISTS = random_scores([3, 2], seed=1)
READ: dict[str, list[float | None]] = {"q0": [-40.0, None, -25.0], "q1": [None, -31.0]}


def write(path: Path, rows: dict[str, list[float | None]]) -> Path:
    columns = [pa.array(list(rows), pa.string()), pa.array(list(rows.values()), pa.list_(pa.float32()))]
    write_table(path, pa.table(columns, ["question_id", "likelihood"]))
    return path


def test_a_session_gains_what_it_is_likelier_than_the_worst_that_was_read(tmp_path: Path) -> None:
    lists = add_likelihoods(LISTS, write(tmp_path / "a.parquet", READ))
    assert feature(lists, "likelihood").tolist() == [0, 0, 3, 0, 0]
    assert feature(lists, "length").tolist() == feature(LISTS, "length").tolist()


@settings(max_examples=100, deadline=None)
@given(read=st.lists(st.integers(-400, -1), min_size=1, max_size=6), unread=st.integers(0, 20))
def test_what_was_read_counts_the_same_however_many_sessions_were_not(read: list[int], unread: int) -> None:
    values = np.asarray([*read, *[np.nan] * unread], dtype=np.float64)
    found = likelihood_feature(values, np.asarray([0, len(values)]))
    alone = likelihood_feature(values[: len(read)], np.asarray([0, len(read)]))
    np.testing.assert_array_equal(found[: len(read)], alone)
    assert not found[len(read) :].any()
    assert found.min() == 0
    assert found.max() <= 3, "15 nats below the likeliest is as bad as it gets"
    order = np.argsort(values[: len(read)])
    assert (np.diff(found[order]) >= 0).all(), "a likelier session never gets less"


def test_rows_may_stand_in_any_order_and_may_be_more(tmp_path: Path) -> None:
    rows: dict[str, list[float | None]] = {"other": [-1.0], "q1": READ["q1"], "q0": READ["q0"]}
    found = add_likelihoods(LISTS, write(tmp_path / "a.parquet", rows)).columns["likelihood"]
    np.testing.assert_array_equal(found, [-40, np.nan, -25, np.nan, -31])


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"q0": READ["q0"]}, "question 'q1' lacks its 2 sessions"),
        ({**READ, "q0": [-1.0, None]}, "question 'q0' lacks its 3 sessions"),
        ({**READ, "q1": [None, None]}, "question 'q1' has a likelihood that is not a finite number, or none at all"),
        ({**READ, "q1": [None, float("-inf")]}, "question 'q1' has a likelihood that is not a finite number"),
        ({**READ, "q0": [float("nan"), None, -1.0]}, "question 'q0' has a likelihood that is not a finite number"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, rows: dict[str, list[float | None]], problem: str) -> None:
    with pytest.raises(MemSifterError, match=f"{problem}.*; repeat likelihood"):
        add_likelihoods(LISTS, write(tmp_path / "a.parquet", rows))

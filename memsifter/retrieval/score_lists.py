"""Scores of all questions as lists end to end: question after question, its sessions in haystack order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memsifter.retrieval.pooling import select_groups


@dataclass(frozen=True)
class ScoreLists:
    """Named scores of the sessions of each question's haystack.

    Attributes:
        question_ids: Q ids.
        offsets: int64 [Q + 1]; question q owns the entries offsets[q] up to offsets[q + 1], at least one.
        columns: scores by name, each [entries].
    """

    question_ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.floating[Any]]]

    def select(self, questions: NDArray[np.int64]) -> "ScoreLists":
        """The lists of some of the questions, in the order given."""
        rows, starts = select_groups(self.offsets, questions)
        return ScoreLists(
            tuple(self.question_ids[question] for question in questions),
            np.append(starts, len(rows)),
            {name: values[rows] for name, values in self.columns.items()},
        )

    def to_table(self) -> pa.Table:
        """One row per question: `question_id`, and a list<float32> for each score."""
        offsets = pa.array(self.offsets, pa.int32())
        lists = {
            name: pa.ListArray.from_arrays(offsets, pa.array(values, pa.float32()))
            for name, values in self.columns.items()
        }
        return pa.table({"question_id": pa.array(self.question_ids, pa.string()), **lists})

    @classmethod
    def from_table(cls, table: pa.Table) -> "ScoreLists":
        """Read what `to_table` made; every column but `question_id` is a score."""
        lists = {name: table[name].combine_chunks() for name in table.column_names if name != "question_id"}
        lengths = next(iter(lists.values())).value_lengths().to_numpy()
        return cls(
            tuple(table["question_id"].to_pylist()),
            np.append(0, np.cumsum(lengths, dtype=np.int64)),
            {name: values.flatten().to_numpy() for name, values in lists.items()},
        )

"""Lists of unequal length, stored end to end: reductions by list, and the scores of all questions in this form."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.io.files import read_parquet

Scores = NDArray[np.float32]
"""Scores of some questions for what is compared with them, such as sessions: [Q, S]."""


def concatenate_ranges(firsts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers first, first + 1, … of each range, one range after the other; int64 [sum of lengths]."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(firsts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def select_groups(offsets: NDArray[np.int64], groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of chosen groups, one group after the other.

    Args:
        offsets: int64 [G + 1]; group g owns the rows offsets[g] up to offsets[g + 1], at least one.
        groups: int64 [S], the groups to choose, in order.

    Returns:
        The chosen rows, and int64 [S] where each group starts among them.
    """
    lengths = offsets[groups + 1] - offsets[groups]
    return concatenate_ranges(offsets[groups], lengths), np.cumsum(lengths) - lengths


def max_per_group(scores: Scores, starts: NDArray[np.int64]) -> Scores:
    """The best score of each group; float32 [Q, rows] to [Q, groups]."""
    return np.maximum.reduceat(scores, starts, axis=1)


def mean_of_best(scores: Scores, starts: NDArray[np.int64], count: int) -> Scores:
    """Mean of the best `count` scores of each group, of all where it has fewer; float32 [Q, rows] to [Q, groups]."""
    rows = scores.shape[1]
    lengths = np.diff(np.append(starts, rows))
    positions = np.arange(rows)
    left = scores.copy()
    total = np.zeros((len(scores), len(starts)), dtype=np.float32)
    for taken in range(min(count, int(lengths.max()))):
        best = max_per_group(left, starts)
        total += np.where(taken < lengths, best, 0)
        # Of equal scores one is taken at a time: the first.
        is_best = left == np.repeat(best, lengths, axis=1)
        first = np.minimum.reduceat(np.where(is_best, positions, rows), starts, axis=1)
        np.put_along_axis(left, first, -np.inf, axis=1)
    total /= np.minimum(lengths, count).astype(np.float32)
    return total


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

    def require_finite(self, where: str, remedy: str) -> None:
        """Refuse scores that are not numbers, or too large for the float32 that is written.

        Raises:
            MemSifterError: names `where`, the score and the question, and ends with the remedy.
        """
        for name, values in self.columns.items():
            with np.errstate(over="ignore"):
                broken = np.flatnonzero(~np.isfinite(values.astype(np.float32)))
            if broken.size:
                question = self.question_ids[int(np.searchsorted(self.offsets, broken[0], side="right")) - 1]
                raise MemSifterError(
                    f"{where}: {name} of question {question!r} is {values[broken[0]]}, not a finite number; {remedy}"
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
    def read(cls, path: Path, names: Iterable[str]) -> "ScoreLists":
        """Read the scores of these names from a file of `to_table`.

        Raises:
            MemSifterError: the file is missing or broken, a question stands there twice, or its scores of different
                names differ in number.
        """
        schema = pa.schema([("question_id", pa.string()), *((name, pa.list_(pa.float32())) for name in names)])
        table = read_parquet(path, schema)
        if len(table["question_id"].unique()) != len(table):
            raise MemSifterError(f"{path}: a question stands there twice; repeat the stage that writes it")
        first, *others = (table[name].combine_chunks().value_lengths() for name in schema.names[1:])
        if any(lengths != first for lengths in others):
            raise MemSifterError(f"{path}: the scores of a question differ in number; repeat the stage that writes it")
        return cls.from_table(table)

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

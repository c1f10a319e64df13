"""The likelihood of the question as one more score of the fitted sum, although only the best sessions were read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.io.files import read_parquet
from memsifter.retrieval.score_lists import ScoreLists

LIKELIHOOD = "likelihood"
"""Its name among the weights and in `data/likelihoods/<dataset>.parquet`."""

_FLOOR = 15.0  # nats below the best; what lies deeper counts as this
_UNIT = 5.0  # nats; gives the feature a spread like that of the standardised scores, so that l2 holds them alike
_SCHEMA = pa.schema([("question_id", pa.string()), (LIKELIHOOD, pa.list_(pa.float32()))])


def likelihood_feature(likelihoods: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much likelier a session makes the question than the worst one that was read: 0 to 3, in units of 5 nats.

    A session that was not read gets 0: it counts as no better than the worst that was. What is more than 15 nats below
    the likeliest counts as 15: such a session has nothing to do with the question, and how little says nothing more.
    What a read session gets does not depend on how many were not read.

    Args:
        likelihoods: float64 [entries], log P(question | session) in nats, lists end to end; NaN where not read.
        offsets: int64 [Q + 1]; list q is likelihoods[offsets[q]:offsets[q + 1]].

    Returns:
        float64 [entries].
    """
    unread = np.isnan(likelihoods)
    lengths = np.diff(offsets)
    best = np.repeat(np.maximum.reduceat(np.where(unread, -np.inf, likelihoods), offsets[:-1]), lengths)
    floored = np.maximum(np.where(unread, best, likelihoods), best - _FLOOR)
    above = floored - np.repeat(np.minimum.reduceat(floored, offsets[:-1]), lengths)
    feature: NDArray[np.float64] = np.where(unread, 0.0, above) / _UNIT
    return feature


def add_likelihoods(lists: ScoreLists, path: Path) -> ScoreLists:
    """The lists with the column `likelihood` of a file of stage `likelihood`, float64, NaN where it holds null.

    Raises:
        MemSifterError: the file is missing or broken, lacks a question or a session, read no session of a question, or
            holds a value that is not a finite number.
    """
    return join_likelihoods(lists, read_parquet(path, _SCHEMA), str(path))


def join_likelihoods(lists: ScoreLists, table: pa.Table, where: str) -> ScoreLists:
    """`add_likelihoods` for a table in memory; errors call it `where`."""
    column = table[LIKELIHOOD].combine_chunks()
    positions = {name: position for position, name in enumerate(table["question_id"].to_pylist())}
    if len(positions) != len(table):
        raise MemSifterError(f"{where}: a question stands there twice; repeat likelihood")
    lengths = column.value_lengths().to_numpy()
    for question, size in zip(lists.question_ids, np.diff(lists.offsets).tolist(), strict=True):
        if question not in positions or lengths[positions[question]] != size:
            raise MemSifterError(f"{where}: question {question!r} lacks its {size} sessions; repeat likelihood")
    values = column.flatten()
    found = ScoreLists(
        tuple(positions),
        np.append(0, np.cumsum(lengths, dtype=np.int64)),
        {
            LIKELIHOOD: values.to_numpy(zero_copy_only=False).astype(np.float64),
            "read": values.is_valid().to_numpy(False),
        },
    ).select(np.asarray([positions[question] for question in lists.question_ids], dtype=np.int64))
    is_read = found.columns["read"]
    is_broken = (is_read & ~np.isfinite(found.columns[LIKELIHOOD])) | np.repeat(
        np.add.reduceat(is_read.astype(np.int64), found.offsets[:-1]) == 0, np.diff(found.offsets)
    )
    if is_broken.any():
        question = lists.question_ids[int(np.searchsorted(lists.offsets, is_broken.argmax(), side="right")) - 1]
        raise MemSifterError(
            f"{where}: question {question!r} has a likelihood that is not a finite number, or none at all; repeat "
            "likelihood"
        )
    return ScoreLists(lists.question_ids, lists.offsets, {**lists.columns, LIKELIHOOD: found.columns[LIKELIHOOD]})

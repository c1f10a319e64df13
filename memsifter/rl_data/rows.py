"""Rows of RL data as verl reads them: building one, and writing those of a round as shards."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from memsifter.corpus.sessions import Split
from memsifter.corpus.store import HaystackIndex
from memsifter.io.files import parquet_writer
from memsifter.llm.context import CountedSession
from memsifter.metrics.retrieval import order_by_score
from memsifter.params.data import Kind
from memsifter.ranking.candidates import CoarseScores, FilledPrompt
from memsifter.reward.sample import EXTRA_INFO
from memsifter.rl_data.draw import order_by_hash
from memsifter.rl_data.eligibility import EligibleQuestion

Row = dict[str, Any]

_VERSION_DIGITS = 16
_ROWS_PER_GROUP = 32  # long prompts: no more than these are held twice

ROW_SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", EXTRA_INFO),
    ]
)


def build_row(
    item: EligibleQuestion,
    index: HaystackIndex,
    scores: CoarseScores,
    filled: FilledPrompt,
    sessions: Sequence[CountedSession],
    dataset: str,
    kind: Kind,
) -> Row:
    """The row of one question, but for its number, split and version, which `write_rows` gives it.

    Args:
        item: the question.
        index: its haystack.
        scores: (n,) coarse scores in haystack order.
        filled: the ranker's messages and the candidates in them.
        sessions: the candidates as the working LLM reads them.
        dataset: name of the dataset.
        kind: of the dataset.
    """
    question = item.question
    number_of = {position: number for number, position in enumerate(filled.candidates)}
    return {
        "data_source": dataset,
        "prompt": filled.messages,
        "ability": kind,
        "reward_model": {"style": "rule", "ground_truth": question.answer},
        "extra_info": {
            "dataset": dataset,
            "kind": kind,
            "category": question.category,
            "question_id": question.question_id,
            "question": question.question,
            "question_date": question.question_date,
            "answer": question.answer,
            "session_ids": [index.session_ids[position] for position in filled.candidates],
            "dates": [index.dates[position] for position in filled.candidates],
            "sessions": [session.text for session in sessions],
            "session_tokens": [session.tokens for session in sessions],
            "positions": list(filled.candidates),
            "coarse_order": [number_of[place] for place in order_by_score(scores) if place in number_of],
            "gold": [number_of[position] for position in item.gold],
            "context_tokens": item.context_tokens,
        },
    }


def shuffle_rows(rows: Sequence[Row], seed: int) -> list[Row]:
    """Rows of all datasets in one seeded random order, whatever order they come in."""
    # JSON, since two plain names could join to the same text.
    named = {json.dumps([row["data_source"], row["extra_info"]["question_id"]]): row for row in rows}
    return [named[name] for name in order_by_hash(named, seed)]


def hash_rows(train: Sequence[Row], test: Sequence[Row]) -> str:
    """The version of the data: 16 hex digits of the SHA-256 of all rows in order, their version left out."""
    digest = hashlib.sha256()
    for split, rows in _groups(train, test):
        for row in _number_rows(rows, split, ""):
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()[:_VERSION_DIGITS]


def write_rows(
    directory: Path, train: Sequence[Row], test: Sequence[Row], shard_rows: int, version: str
) -> dict[str, int]:
    """Write `train_0.parquet`, `train_1.parquet`, … and `test.parquet` into an existing directory.

    Rows are numbered within their split in the order given.

    Returns:
        Rows by file name.
    """
    written = {}
    for split, rows in _groups(train, test):
        size = shard_rows if split == "train" else len(rows)
        for shard, start in enumerate(range(0, len(rows), size)):
            name = f"train_{shard}.parquet" if split == "train" else "test.parquet"
            part = rows[start : start + size]
            with parquet_writer(directory / name, ROW_SCHEMA) as writer:
                for first in range(0, len(part), _ROWS_PER_GROUP):
                    group = part[first : first + _ROWS_PER_GROUP]
                    numbered = list(_number_rows(group, split, version, start + first))
                    writer.write_table(pa.Table.from_pylist(numbered, schema=ROW_SCHEMA))
            written[name] = len(part)
    return written


def _groups(train: Sequence[Row], test: Sequence[Row]) -> tuple[tuple[Split, Sequence[Row]], ...]:
    return ("train", train), ("test", test)


def _number_rows(rows: Sequence[Row], split: Split, version: str, start: int = 0) -> Iterator[Row]:
    for index, row in enumerate(rows, start):
        yield {**row, "extra_info": {"index": index, "version": version, "split": split, **row["extra_info"]}}

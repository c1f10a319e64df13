"""Write a processed dataset in the flat layout, and read one back as records: what tests compare."""

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from memsifter.corpus.sessions import Haystack, Question, Session
from memsifter.corpus.store import Dataset
from memsifter.io.files import atomic_file, parquet_writer

FLAT_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("split", pa.string()),
        ("question", pa.string()),
        ("question_date", pa.string()),
        ("answer", pa.string()),
        ("category", pa.string()),
        ("answer_session_ids", pa.list_(pa.string())),
        ("haystack_id", pa.string()),
        ("haystack_session_ids", pa.list_(pa.string())),
        ("haystack_dates", pa.list_(pa.string())),
        ("haystack_sessions", pa.string()),
        ("all_options", pa.list_(pa.string())),
    ]
)
_ROWS_PER_BATCH = 16  # a row holds a whole haystack, up to megabytes


def stored_records(dataset: Dataset) -> Iterator[Haystack | Question]:
    """The whole dataset as a reader would yield it: each haystack, then all questions."""
    for index in dataset.haystacks.values():
        parts = zip(index.session_ids, index.dates, index.session_keys, strict=True)
        yield Haystack(index.haystack_id, tuple(Session(name, date, dataset.turns(key)) for name, date, key in parts))
    yield from dataset.questions


def write_flat(dataset: Dataset, path: Path) -> int:
    """Write a processed dataset in the flat layout: Parquet for the suffix `.parquet`, JSON lines for `.jsonl`.

    `haystack_sessions` is a JSON string. Rows are streamed; reading the file back gives the same questions and, for
    every haystack that a question uses, the same haystack.

    Returns:
        The number of rows.
    """
    rows = _flat_rows(dataset)
    with atomic_file(path) as temporary:
        if path.suffix == ".parquet":
            with parquet_writer(temporary, FLAT_SCHEMA) as writer:
                while batch := list(islice(rows, _ROWS_PER_BATCH)):
                    writer.write_table(pa.Table.from_pylist(batch, schema=FLAT_SCHEMA))
        else:
            with temporary.open("w", encoding="utf-8") as stream:
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(dataset.questions)


def _flat_rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    @lru_cache(maxsize=1)  # questions of one haystack follow each other
    def sessions_json(haystack_id: str) -> str:
        keys = dataset.haystacks[haystack_id].session_keys
        turns = [[{"role": turn.role, "content": turn.content} for turn in dataset.turns(key)] for key in keys]
        return json.dumps(turns, ensure_ascii=False)

    for question in dataset.questions:
        haystack = dataset.haystack_of(question)
        yield {
            "question_id": question.question_id,
            "split": question.split,
            "question": question.question,
            "question_date": question.question_date,
            "answer": question.answer,
            "category": question.category,
            "answer_session_ids": list(question.answer_session_ids),
            "haystack_id": question.haystack_id,
            "haystack_session_ids": list(haystack.session_ids),
            "haystack_dates": list(haystack.dates),
            "haystack_sessions": sessions_json(question.haystack_id),
            "all_options": list(question.options),
        }

"""The flat layout of the published MemSifter data: one row per question, with its whole haystack; read and written."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from memsifter.corpus.records import Issue, Record, guard
from memsifter.corpus.sessions import NO_CATEGORY, SPLITS, Question, Split
from memsifter.corpus.store import Dataset
from memsifter.datasets.assembly import HaystackShelf, assemble_haystack
from memsifter.datasets.choices import chosen_option
from memsifter.datasets.json_text import parse_json
from memsifter.datasets.layout import (
    check_kind,
    parse_literal,
    parse_split,
    require,
    require_strings,
    require_text,
)
from memsifter.datasets.rows import Row, iter_rows
from memsifter.errors import DataError, MemSifterError
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
_SUFFIXES = (".parquet", ".json", ".jsonl")
_LISTS = ("answer_session_ids", "haystack_session_ids", "haystack_dates", "haystack_sessions")
# Restatements of other fields in the published files, and the names that stand for `category`.
_KNOWN = {*FLAT_SCHEMA.names, "question_type", "correct_answer", "gold_session", "gold_session_idx", "gold_turn_idx"}
_ROWS_PER_BATCH = 16  # a row holds a whole haystack, up to megabytes


def read_flat(path: Path, split: Split) -> Iterator[Record]:
    """Stream a Parquet, JSON-lines or JSON-array file (told apart by content), or a folder of a train and a test file.

    Required fields: `question`, `answer`, `answer_session_ids`, `haystack_session_ids`, `haystack_sessions` (a list of
    sessions, each a list of `{role, content}`; any list may also be a string of JSON). Optional: `question_id` (else
    `q<row>`, with an issue), `question_date` and `haystack_dates` (else ""), `category` or `question_type` (else
    `uncategorised`), `split` (else the argument), `haystack_id` (else a hash of the content, so that rows with equal
    haystacks share one), `all_options` (else none; one of them is the answer). An optional field that is null counts
    as absent, one that is not in this list becomes an issue.

    Raises:
        DataError: the file is not in this layout; a row that is not becomes a refusal.
    """
    shelf = HaystackShelf()
    for file, file_split in split_files(path, split):
        extra: dict[str, None] = {}
        for row in iter_rows(file):
            yield from guard(row.where, _read_row(row, file_split, shelf, extra))
        yield from (Issue("field_not_kept", f"{file.name}: {field!r}") for field in extra)


def split_files(path: Path, split: Split) -> list[tuple[Path, Split]]:
    """The files of a source with the split of their questions: a folder's `train.*` and `test.*`, or the file itself.

    Raises:
        DataError: a folder without either.
    """
    if not path.is_dir():
        return [(path, split)]
    files = [(file, name) for name in SPLITS for file in sorted(path.glob(f"{name}.*")) if file.suffix in _SUFFIXES]
    if not files:
        raise DataError(f"{path}: no train.* or test.* file in this folder", fix="name a file, or add one of them")
    return files


def _read_row(row: Row, split: Split, shelf: HaystackShelf, extra: dict[str, None]) -> Iterator[Record]:
    where = row.where
    fields = {field: value for field, value in row.fields().items() if value is not None or field == "answer"}
    extra.update(dict.fromkeys(field for field in fields if field not in _KNOWN))
    fields |= {field: _parse_list(fields[field], where, field) for field in _LISTS if field in fields}
    session_ids = require_strings(fields, "haystack_session_ids", where)
    dates = require_strings(fields, "haystack_dates", where) if "haystack_dates" in fields else ("",) * len(session_ids)
    given_id = require_text(fields, "haystack_id", where) if "haystack_id" in fields else None
    assembly = assemble_haystack(
        session_ids, dates, require(fields, "haystack_sessions", list, where), where, row.label, given_id
    )
    shelf.check(assembly.haystack, where)
    options = _options(fields, where)
    question_id = require_text(fields, "question_id", where) if "question_id" in fields else f"q{row.number}"
    gold, issues = assembly.resolve_gold(
        require_strings(fields, "answer_session_ids", where), f"question {question_id!r}"
    )
    question = Question(
        question_id=question_id,
        split=parse_split(fields.get("split", split), where),
        haystack_id=assembly.haystack.haystack_id,
        question=require(fields, "question", str, where),
        question_date=require(fields, "question_date", str, where) if "question_date" in fields else "",
        answer=chosen_option(require_text(fields, "answer", where), options, where),
        category=_category(fields, where),
        answer_session_ids=gold,
        options=options,
    )
    yield from shelf.add(assembly)
    if "question_id" not in fields:
        yield Issue("question_id_generated", f"{row.label}: no question_id; now {question_id!r}")
    yield from issues
    yield question


def write_flat(dataset: Dataset, path: Path) -> int:
    """Write a processed dataset in the flat layout: Parquet for the suffix `.parquet`, JSON lines for `.jsonl`.

    `haystack_sessions` is a JSON string. Rows are streamed; reading the file back gives the same questions and, for
    every haystack that a question uses, the same haystack.

    Returns:
        The number of rows.

    Raises:
        MemSifterError: another suffix.
    """
    if path.suffix not in (".parquet", ".jsonl"):
        raise MemSifterError(f"{path}: the suffix must be .parquet or .jsonl")
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


def _parse_list(value: Any, where: str, field: str) -> list[Any]:
    if isinstance(value, str):
        value = parse_json(value, where, field)
    return check_kind(value, list, f"{where}: field {field!r}", field)


def _options(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    options = fields.get("all_options", [])
    if isinstance(options, str):
        options = parse_literal(options, list, "all_options", where)
    return require_strings({"all_options": options}, "all_options", where)


def _category(row: Mapping[str, Any], where: str) -> str:
    field = next((name for name in ("category", "question_type") if name in row), None)
    return NO_CATEGORY if field is None else require_text(row, field, where)

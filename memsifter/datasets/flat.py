"""The flat layout of the published MemSifter data: one row per question, with its whole haystack."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from memsifter.corpus.records import Issue, Record, guard
from memsifter.corpus.sessions import NO_CATEGORY, SPLITS, Question, Split
from memsifter.datasets.assembly import HaystackShelf, assemble_haystack
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.json_text import parse_json
from memsifter.datasets.io.layout import (
    check_kind,
    chosen_option,
    parse_literal,
    parse_split,
    require,
    require_strings,
    require_text,
)
from memsifter.datasets.io.rows import Row, iter_rows
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.errors import DataError

_HUB = "https://huggingface.co/datasets/zstanjj/MemSifter-Datasets/resolve/main"
_PUBLISHED = (
    "locomo",
    "split_longmemeval_s",
    "split_longmemeval_m",
    "personamem_32k",
    "personamem_128k",
    "personamem_1M",
    "perltqa_en",
    "perltqa_zh",
    "HotpotQA",
    "WebDancer",
)
_SUFFIXES = (".parquet", ".json", ".jsonl")
_LISTS = ("answer_session_ids", "haystack_session_ids", "haystack_dates", "haystack_sessions")
# Restatements of other fields in the published files, and the names that stand for `category`.
_KNOWN = {
    "question_id",
    "split",
    "question",
    "question_date",
    "answer",
    "category",
    "answer_session_ids",
    "haystack_id",
    "haystack_session_ids",
    "haystack_dates",
    "haystack_sessions",
    "all_options",
    "question_type",
    "correct_answer",
    "gold_session",
    "gold_session_idx",
    "gold_turn_idx",
}


def _published(name: str) -> tuple[SourceFile, ...]:
    """The files that MemSifter's authors publish."""
    return tuple(SourceFile(f"{_HUB}/{name}/{split}.parquet") for split in SPLITS)


class FlatReader(FileReader):
    """The flat layout of the published MemSifter data."""

    reader: Literal["flat"] = "flat"
    """The layout of the source."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {
        **{
            f"personamem_v2_{size}": Benchmark(
                title="PersonaMem v2",
                page="https://huggingface.co/datasets/bowen-upenn/PersonaMem-v2",
                licence="CC BY 4.0",
                kind="chat",
                language="en",
                files=_published(f"personamem_v2_{size}"),
            )
            for size in ("32k", "128k")
        },
        # The raw dialogues lie at https://github.com/cows21/MOOM-Roleplay-Dialogue, in an undocumented layout.
        "zh4o": Benchmark(
            title="ZH-4O",
            page="https://arxiv.org/abs/2509.11860",
            licence="not stated",
            kind="chat",
            language="zh",
            files=_published("zh4o"),
        ),
        # The questions alone are at https://huggingface.co/datasets/callanwu/WebWalkerQA, without what was browsed.
        "WebWalkerQA-Silver": Benchmark(
            title="MiroVerse, asks for consent",
            page="https://huggingface.co/datasets/miromind-ai/MiroVerse-v0.1",
            licence="Apache-2.0 (questions)",
            kind="deep_research",
            language="en, zh",
            files=_published("WebWalkerQA-Silver"),
        ),
    }
    other_files: ClassVar[Mapping[str, tuple[SourceFile, ...]]] = {name: _published(name) for name in _PUBLISHED}

    def read(self, path: Path) -> Iterator[Record]:
        """Stream a Parquet, JSON-lines or JSON-array file, as its content says, or a folder of train and test files.

        Required fields: `question`, `answer`, `answer_session_ids`, `haystack_session_ids`, `haystack_sessions` (a list
        of sessions, each a list of `{role, content}`; any list may also be a string of JSON). Optional: `question_id`
        (else `q<row>`, in a folder of several files `<file>-q<row>`, with an issue), `question_date` and
        `haystack_dates` (else ""), `category` or `question_type` (else `uncategorised`), `split` (else the parameter),
        `haystack_id` (else a hash of the content, so that rows with equal haystacks share one), `all_options` (else
        none; one of them is the answer). An optional field that is null counts as absent, one that is not in this list
        becomes an issue.

        Raises:
            DataError: the file is not in this layout; a row that is not becomes a refusal.
        """
        shelf = HaystackShelf()
        files = split_files(path, self.split)
        for file, file_split in files:
            extra: dict[str, None] = {}
            for row in iter_rows(file):
                default_id = f"q{row.number}" if len(files) == 1 else f"{file.stem}-q{row.number}"
                yield from guard(row.where, _read_row(row, default_id, file_split, shelf, extra))
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


def _read_row(
    row: Row, default_id: str, split: Split, shelf: HaystackShelf, extra: dict[str, None]
) -> Iterator[Record]:
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
    question_id = require_text(fields, "question_id", where) if "question_id" in fields else default_id
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

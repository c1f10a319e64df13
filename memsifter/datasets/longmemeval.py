"""LongMemEval's official JSON layout (Wu et al., arXiv 2410.10813): an array of questions, each with its haystack."""

from collections.abc import Iterator
from pathlib import Path

from memsifter.corpus.records import Issue, Record, guard
from memsifter.corpus.sessions import Question, Split
from memsifter.datasets.assembly import HaystackShelf, assemble_haystack
from memsifter.datasets.layout import require, require_strings, require_text
from memsifter.datasets.rows import Row, iter_rows

_ABSTENTION_SUFFIX = "_abs"


def read_longmemeval(path: Path, split: Split) -> Iterator[Record]:
    """Stream the file one question at a time.

    Questions with equal haystacks (ids, dates and contents) share one, whose id is a hash of these; only ids are
    remembered. A question whose id ends in `_abs` cannot be answered from its haystack: its category is `abstention`,
    and its gold is empty, since the sessions that the source lists for it do not hold the answer and the benchmark's
    own retrieval metrics leave it out. Sessions keep the source's order.

    Raises:
        DataError: the file is not in this layout; a row that is not becomes a refusal.
    """
    shelf = HaystackShelf()
    for row in iter_rows(path):
        yield from guard(row.where, _read_row(row, split, shelf))


def _read_row(row: Row, split: Split, shelf: HaystackShelf) -> Iterator[Record]:
    fields, where = row.fields(), row.where
    question_id = require(fields, "question_id", str, where)
    assembly = assemble_haystack(
        require_strings(fields, "haystack_session_ids", where),
        require_strings(fields, "haystack_dates", where),
        require(fields, "haystack_sessions", list, where),
        where,
        row.label,
    )
    category = require(fields, "question_type", str, where)
    source_gold = require_strings(fields, "answer_session_ids", where)
    abstention = question_id.endswith(_ABSTENTION_SUFFIX)
    gold, issues = assembly.resolve_gold(() if abstention else source_gold, f"question {question_id!r}")
    question = Question(
        question_id=question_id,
        split=split,
        haystack_id=assembly.haystack.haystack_id,
        question=require(fields, "question", str, where),
        question_date=require(fields, "question_date", str, where),
        answer=require_text(fields, "answer", where),
        category="abstention" if abstention else category,
        answer_session_ids=gold,
    )
    yield from shelf.add(assembly)
    if abstention:
        yield Issue("abstention_question", f"question {question_id!r}: cannot be answered; its gold is empty")
    yield from issues
    yield question

"""LongMemEval's official JSON layout (Wu et al., arXiv 2410.10813): an array of questions, each with its haystack."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import ClassVar, Literal

from memsifter.corpus.records import Issue, Position, Record, Refusal, guard
from memsifter.corpus.sessions import Question, Split
from memsifter.datasets.assembly import HaystackShelf, assemble_haystack
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.layout import require, require_strings, require_text
from memsifter.datasets.io.rows import Row, iter_rows
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.params.base import Fraction

_ABSTENTION_SUFFIX = "_abs"
_HUB = "https://huggingface.co/datasets/xiaowu0162/longmemeval-cleaned/resolve/main"


class LongMemEvalReader(FileReader):
    """LongMemEval's official JSON layout."""

    reader: Literal["longmemeval"] = "longmemeval"
    """The layout of the source."""
    train_fraction: Fraction | None = None
    """Share of the questions, drawn with `split_seed`, that is for training: 0 to 1, the paper's is 0.7; null: all
    questions are of `split`."""
    split_seed: int = 42
    """Seed of the draw; 42 repeats the paper's."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {
        f"split_longmemeval_{size}": Benchmark(
            title="LongMemEval",
            page="https://github.com/xiaowu0162/LongMemEval",
            licence="MIT",
            kind="chat",
            language="en",
            files=(SourceFile(f"{_HUB}/longmemeval_{size}_cleaned.json"),),
        )
        for size in ("s", "m")
    }

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the file one question at a time.

        Questions with equal haystacks (ids, dates and contents) share one, whose id is a hash of these; only ids are
        remembered. A question whose id ends in `_abs` cannot be answered from its haystack: its category is
        `abstention`, and its gold is empty, since the sessions that the source lists for it do not hold the answer and
        the benchmark's own retrieval metrics leave it out.

        Raises:
            DataError: the file is not in this layout; a row that is not becomes a refusal.
        """
        records = _read_file(path, self.split)
        return records if self.train_fraction is None else draw_questions(records, self.train_fraction, self.split_seed)


def _read_file(path: Path, split: Split) -> Iterator[Record]:
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


def draw_questions(records: Iterable[Record], train_fraction: float, seed: int) -> Iterator[Record]:
    """Draw questions for the train split, the others are for testing; questions come last, each after its position.

    The draw is that of the paper's split of LongMemEval: the file's questions are shuffled by Python's generator with
    this seed, and the first `train_fraction` of them, rounded down, are for training. A refused question keeps its
    place, so that the others do not change sides.
    """
    questions: list[tuple[Position, Question] | None] = []
    position = Position("")
    for record in records:
        if isinstance(record, Question):
            questions.append((position, record))
            continue
        if isinstance(record, Position):
            position = record
        elif isinstance(record, Refusal):
            questions += [None] * record.questions
        yield record
    order = list(range(len(questions)))
    Random(seed).shuffle(order)
    train = set(order[: int(len(order) * train_fraction)])
    for number, placed in enumerate(questions):
        if placed is not None:
            yield placed[0]
            yield replace(placed[1], split="train" if number in train else "test")

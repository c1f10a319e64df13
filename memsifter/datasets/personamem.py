"""PersonaMem v1 (Jiang et al., arXiv 2504.14225): a CSV of questions, and the conversations that they share.

`questions_<size>.csv` has a row per multiple-choice question. `shared_contexts_<size>.jsonl` has a line per context, an
object with one key, the context's id, that holds its messages `{role, content}`. A question is asked after the first
`end_index_in_shared_context` messages.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal

from memsifter.corpus.records import Issue, Position, Record, guard, refuse
from memsifter.corpus.sessions import Haystack, Question, Session, Split, Turn
from memsifter.datasets.assembly import SYSTEM_ROLES, parse_turns
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.layout import check_kind, chosen_option, find_file, parse_literal, require, require_strings
from memsifter.datasets.io.rows import Row, iter_csv, iter_rows
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.errors import DataError

_HUB = "https://huggingface.co/datasets/bowen-upenn/PersonaMem-v1/resolve/main"
_CONTEXT, _END = "shared_context_id", "end_index_in_shared_context"
_DISTANCE = "distance_to_ref_proportion_in_context"


class PersonaMemReader(FileReader):
    """PersonaMem v1: a folder with `questions*.csv` and `shared_contexts*.jsonl`."""

    reader: Literal["personamem"] = "personamem"
    """The layout of the source."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {
        f"personamem_{size}": Benchmark(
            title="PersonaMem v1",
            page="https://github.com/bowen-upenn/PersonaMem",
            licence="MIT",
            kind="chat",
            language="en",
            files=(SourceFile(f"{_HUB}/questions_{size}.csv"), SourceFile(f"{_HUB}/shared_contexts_{size}.jsonl")),
        )
        for size in ("32k", "128k", "1M")
    }

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the contexts one at a time, each with its questions; the questions of the CSV are held.

        A system message, which describes the persona, opens each conversation of a context: it ends a session and is
        left out, since it gives answers away. Questions asked at the same place of a context share a haystack, and all
        haystacks of a context its sessions. The source does not name gold sessions but says how far back the reference
        lies, as a share of the context's tokens; the session there, measured in characters, is gold. The options are
        kept; the answer is the right one.

        Raises:
            DataError: the files are not in this layout; a row that is not becomes a refusal.
        """
        questions: dict[str, list[Row]] = defaultdict(list)
        for row in iter_csv(find_file(path, "questions*.csv")):
            try:
                questions[require(row.fields(), _CONTEXT, str, row.where)].append(row)
            except DataError as error:
                yield refuse(row.where, error, questions=1)
        for line in iter_rows(find_file(path, "shared_contexts*.jsonl")):
            yield Position(line.where)
            try:
                contexts = {name: parse_turns(value, f"{line.where}: {name}") for name, value in line.fields().items()}
            except DataError as error:
                yield refuse(line.where, error, questions=0)
                continue
            for name, messages in contexts.items():
                yield from _read_context(name, messages, questions.pop(name, []), self.split)
        for name, rows in questions.items():
            for row in rows:
                missing = DataError(
                    f"{row.where}: field {_CONTEXT!r}: no usable context {name!r} in the contexts file",
                    field=_CONTEXT,
                    fix="download both files of the same size",
                )
                yield refuse(row.where, missing, questions=1)


def _read_context(name: str, messages: Sequence[Turn], rows: Sequence[Row], split: Split) -> Iterator[Record]:
    if personas := sum(message.role in SYSTEM_ROLES for message in messages):
        yield Issue("system_message_left_out", f"context {name!r}: {personas} of {len(messages)} messages")
    yielded: set[str] = set()
    for row in rows:
        yield from guard(row.where, _read_question(row, name, messages, yielded, split))


def _read_question(
    row: Row, context: str, messages: Sequence[Turn], yielded: set[str], split: Split
) -> Iterator[Record]:
    fields, where = row.fields(), row.where
    end = _parse_number(fields, _END, where)
    if not 0 < end <= len(messages):
        raise DataError(
            f"{where}: field {_END!r} is {end:g}, the context has {len(messages)} messages",
            field=_END,
            fix="download both files of the same size",
        )
    haystack = Haystack(f"{context}:{int(end)}", _split_sessions(messages[: int(end)]))
    question_id = require(fields, "question_id", str, where)
    options = parse_literal(require(fields, "all_options", str, where), list, "all_options", where)
    texts = require_strings({"all_options": options}, "all_options", where)
    question = Question(
        question_id=question_id,
        split=split,
        haystack_id=haystack.haystack_id,
        question=require(fields, "user_question_or_message", str, where),
        question_date="",
        answer=chosen_option(require(fields, "correct_answer", str, where), texts, where),
        category=require(fields, "question_type", str, where),
        answer_session_ids=_locate(haystack.sessions, _parse_number(fields, _DISTANCE, where) / 100),
        options=texts,
    )
    if haystack.haystack_id not in yielded:
        yielded.add(haystack.haystack_id)
        yield haystack
    yield Issue("gold_from_distance", f"question {question_id!r}: gold is the session at the reference's distance")
    yield question


def _split_sessions(messages: Sequence[Turn]) -> tuple[Session, ...]:
    blocks: list[list[Turn]] = [[]]
    for message in messages:
        if message.role in SYSTEM_ROLES:
            blocks.append([])
        else:
            blocks[-1].append(message)
    kept = [block for block in blocks if block]
    return tuple(Session(f"session_{number}", "", tuple(block)) for number, block in enumerate(kept, start=1))


def _locate(sessions: Sequence[Session], distance: float) -> tuple[str, ...]:
    """The session that lies `distance` before the end, as a share of all characters."""
    ends = list(accumulate(sum(len(turn.content) for turn in session.turns) for session in sessions))
    if not ends or not 0 <= distance <= 1:
        return ()
    position = (1 - distance) * ends[-1]
    return (next(session.session_id for session, end in zip(sessions, ends, strict=True) if position <= end),)


def _parse_number(fields: Mapping[str, Any], field: str, where: str) -> float:
    text = check_kind(require(fields, field, str, where), str, where)
    try:
        return float(text.removesuffix("%"))
    except ValueError as error:
        raise DataError(
            f"{where}: field {field!r}: {text!r} is not a number", field=field, fix="write a number there"
        ) from error

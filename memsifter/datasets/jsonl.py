"""A user's own conversations, one JSON object per line (or in one array), each with its questions.

    {"id": "ann", "sessions": [{"id": "s1", "date": "2024-05-20 10:00",
                                "turns": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}],
     "questions": [{"id": "q1", "question": "…", "answer": "…", "gold": ["s1"], "date": "2024-06-01",
                    "category": "…", "options": ["…", "…"], "split": "test"}]}

Required are `sessions`, their `turns`, `questions`, and in each `question` and `answer`. `gold` names sessions.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from memsifter.corpus.records import Issue, Position, Record, guard, refuse
from memsifter.corpus.sessions import NO_CATEGORY, Question, Split
from memsifter.datasets.assembly import Assembly, assemble_haystack
from memsifter.datasets.io.layout import check_kind, chosen_option, parse_split, require, require_strings, require_text
from memsifter.datasets.io.rows import Row, iter_rows
from memsifter.datasets.reader import FileReader
from memsifter.errors import DataError


class JsonlReader(FileReader):
    """A user's own conversations, one JSON object per line."""

    reader: Literal["jsonl"] = "jsonl"
    """The layout of the source."""

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the conversations.

        An absent `id` becomes `row<number>` or `session_<number>`; what else is absent is empty.

        Raises:
            DataError: the file is not JSON; a conversation or question that is not in the layout becomes a refusal.
        """
        for row in iter_rows(path):
            yield Position(row.where)
            questions: list[Any] = []
            try:
                fields = row.fields()
                questions = require(fields, "questions", list, row.where)
                assembly = _read_sessions(fields, row)
            except DataError as error:
                yield refuse(row.where, error, questions=len(questions))
                continue
            yield from assembly.issues
            yield assembly.haystack

            def find_gold(value: Any, where: str, assembly: Assembly = assembly) -> tuple[str, ...]:
                whole = isinstance(value, int) and not isinstance(value, bool)  # ids that are numbers became text, too
                name = str(value) if whole else check_kind(value, str, where, "gold")
                return assembly.occurrences.get(name, (name,))

            yield from read_questions(questions, assembly.haystack.haystack_id, find_gold, row.where, self.split)


def _read_sessions(fields: dict[str, Any], row: Row) -> Assembly:
    ids, dates, turns = [], [], []
    for number, value in enumerate(require(fields, "sessions", list, row.where), start=1):
        place = f"{row.where}: field 'sessions'[{number - 1}]"
        session = check_kind(value, dict, place, "sessions")
        ids.append(optional_text(session, "id", place, f"session_{number}"))
        dates.append(optional_text(session, "date", place))
        turns.append(require(session, "turns", list, place))
    haystack_id = optional_text(fields, "id", row.where, f"row{row.number}")
    return assemble_haystack(ids, dates, turns, row.where, row.label, haystack_id, field="sessions")


def read_questions(
    items: list[Any], haystack_id: str, find_gold: Callable[[Any, str], tuple[str, ...]], where: str, split: Split
) -> Iterator[Record]:
    """The questions of one conversation.

    Required: `question`, `answer`. Optional: `id` (else `<haystack>-q<number>`), `date`, `category`, `gold`, `options`
    (one of them is the answer, by its text or its letter), `split`.

    Args:
        items: as the source has them.
        haystack_id: of the conversation.
        find_gold: maps a value of `gold` and its place to session ids; raises DataError for a wrong one.
        where: file and row.
        split: of questions that do not name theirs.
    """
    for number, item in enumerate(items):
        place = f"{where}: field 'questions'[{number}]"
        yield from guard(place, _read_question(item, f"{haystack_id}-q{number}", haystack_id, find_gold, place, split))


def optional_text(fields: Mapping[str, Any], field: str, where: str, default: str = "") -> str:
    """A field as text; the default when it is absent or null."""
    return default if fields.get(field) is None else require_text(fields, field, where)


def _read_question(
    item: Any,
    default_id: str,
    haystack_id: str,
    find_gold: Callable[[Any, str], tuple[str, ...]],
    where: str,
    split: Split,
) -> Iterator[Record]:
    fields = check_kind(item, dict, where)
    options = require_strings(fields, "options", where) if fields.get("options") is not None else ()
    gold = require(fields, "gold", list, where) if fields.get("gold") is not None else []
    question_id = optional_text(fields, "id", where, default_id)
    session_ids = dict.fromkeys(name for value in gold for name in find_gold(value, f"{where}: field 'gold'"))
    question = Question(
        question_id=question_id,
        split=parse_split(optional_text(fields, "split", where, split), where),
        haystack_id=haystack_id,
        question=require(fields, "question", str, where),
        question_date=optional_text(fields, "date", where),
        answer=chosen_option(require_text(fields, "answer", where), options, where),
        category=optional_text(fields, "category", where, NO_CATEGORY),
        answer_session_ids=tuple(session_ids),
        options=options,
    )
    if not session_ids:
        yield Issue("question_without_evidence", f"question {question_id!r}: no gold session is known")
    yield question

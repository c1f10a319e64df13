"""A user's own conversations, one JSON object per line (or in one array), each with its questions.

    {"id": "ann", "sessions": [{"id": "s1", "date": "2024-05-20 10:00",
                                "turns": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}],
     "questions": [{"id": "q1", "question": "…", "answer": "…", "gold": ["s1"], "date": "2024-06-01",
                    "category": "…", "options": ["…", "…"], "split": "test"}]}

Required are `sessions`, their `turns`, `questions`, and in each `question` and `answer`. `gold` names sessions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memsifter.corpus.records import Position, Record, refuse
from memsifter.corpus.sessions import Split
from memsifter.datasets.assembly import Assembly, assemble_haystack
from memsifter.datasets.layout import check_kind, require
from memsifter.datasets.own_questions import optional_text, read_questions
from memsifter.datasets.rows import Row, iter_rows
from memsifter.errors import DataError


def read_jsonl(path: Path, split: Split) -> Iterator[Record]:
    """Stream the conversations. An absent `id` becomes `row<number>` or `session_<number>`, other absences are empty.

    Raises:
        DataError: the file is no JSON; a conversation or question that is not in the layout becomes a refusal.
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
            return assembly.occurrences.get(check_kind(value, str, where, "gold"), (value,))

        yield from read_questions(questions, assembly.haystack.haystack_id, find_gold, row.where, split)


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

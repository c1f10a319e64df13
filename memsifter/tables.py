"""The Parquet tables of a dataset, written in row groups while a reader streams."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memsifter.files import parquet_writer
from memsifter.sessions import HAYSTACKS_SCHEMA, QUESTIONS_SCHEMA, SESSIONS_SCHEMA, Haystack, Question

_ROWS_PER_GROUP = 512
_CHARACTERS_PER_GROUP = 1 << 23  # long rows make smaller groups, so that memory stays flat


class _BufferedWriter:
    """Appends rows to one Parquet file in row groups of bounded size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer: pq.ParquetWriter = parquet_writer(path, schema)
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._characters = 0
        self.count = 0

    def append(self, row: dict[str, Any], characters: int) -> None:
        """Add a row of about so many characters."""
        self._rows.append(row)
        self._characters += characters
        self.count += 1
        if len(self._rows) >= _ROWS_PER_GROUP or self._characters >= _CHARACTERS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()
            self._characters = 0

    def close(self) -> None:
        """Finish the file."""
        self.flush()
        self._writer.close()


class DatasetTables:
    """The three tables of a dataset in the making, and what there is to report of them."""

    def __init__(self, directory: Path) -> None:
        self._sessions = _BufferedWriter(directory / "sessions.parquet", SESSIONS_SCHEMA)
        self._haystacks = _BufferedWriter(directory / "haystacks.parquet", HAYSTACKS_SCHEMA)
        self._questions = _BufferedWriter(directory / "questions.parquet", QUESTIONS_SCHEMA)
        self._session_keys: set[bytes] = set()
        self._session_count = 0
        self._without_gold = 0
        self._splits: Counter[str] = Counter()
        self._categories: Counter[str] = Counter()

    def add_haystack(self, haystack: Haystack) -> None:
        """Write a haystack, and those of its sessions whose content is new."""
        for session in haystack.sessions:
            key = bytes.fromhex(session.key)  # a third of the hex string's memory
            if key not in self._session_keys:
                self._session_keys.add(key)
                turns = [{"role": turn.role, "content": turn.content} for turn in session.turns]
                self._sessions.append(
                    {"session_key": session.key, "turns": turns}, sum(len(turn.content) for turn in session.turns)
                )
        self._session_count += len(haystack.sessions)
        row = _haystack_row(haystack)
        self._haystacks.append(row, sum(len(text) for column in row.values() for text in column))

    def add_question(self, question: Question) -> None:
        """Write a question."""
        row = {name: _plain(getattr(question, name)) for name in QUESTIONS_SCHEMA.names}
        self._questions.append(row, len(question.question) + len(question.answer))
        self._splits[question.split] += 1
        self._categories[question.category] += 1
        self._without_gold += not question.answer_session_ids

    def close(self) -> dict[str, Any]:
        """Finish the files and count what they hold."""
        for writer in (self._sessions, self._haystacks, self._questions):
            writer.close()
        return {
            "haystacks": self._haystacks.count,
            "sessions": self._session_count,
            "unique_sessions": self._sessions.count,
            "questions": self._questions.count,
            "questions_by_split": dict(sorted(self._splits.items())),
            "questions_by_category": dict(sorted(self._categories.items())),
            "questions_without_gold": self._without_gold,
        }


def _haystack_row(haystack: Haystack) -> dict[str, Any]:
    return {
        "haystack_id": haystack.haystack_id,
        "session_ids": [session.session_id for session in haystack.sessions],
        "session_keys": [session.key for session in haystack.sessions],
        "dates": [session.date for session in haystack.sessions],
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

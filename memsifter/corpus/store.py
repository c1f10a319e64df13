"""The Parquet tables of a dataset, written in row groups while a reader streams."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from memsifter.corpus.records import Issue, Record, Refusal, require_valid, validate
from memsifter.corpus.sessions import (
    HAYSTACKS_SCHEMA,
    QUESTIONS_SCHEMA,
    SESSIONS_SCHEMA,
    Haystack,
    Question,
    Split,
    Turn,
    render_turns,
)
from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory, parquet_writer, read_parquet, write_json

_ROWS_PER_GROUP = 512
_CHARACTERS_PER_GROUP = 1 << 23  # long rows make smaller groups, so that memory stays flat
OnError = Literal["fail", "report"]
_EXAMPLES_PER_ISSUE = 20


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


def write_dataset(records: Iterable[Record], directory: Path, on_error: OnError = "fail") -> dict[str, Any]:
    """Stream a reader's records, checked by `memsifter.corpus.records.validate`, into `directory`, replacing it whole.

    Args:
        records: what a reader yields.
        directory: the dataset's folder.
        on_error: `fail` ends at the first refusal; `report` leaves what is refused out, counts it and lists it in
            `refused.jsonl`.

    Returns:
        The report that is also written to `report.json`: counts of haystacks, sessions, unique sessions and questions
        (by split and by category), questions without gold sessions, questions refused, issues by kind with examples.

    Raises:
        MemSifterError: a refusal under `fail`, or no question is left.
    """
    issues: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    refused, refused_questions = 0, 0
    with atomic_directory(directory) as temporary:
        writer = DatasetTables(temporary)
        for record in validate(records):
            if isinstance(record, Issue):
                issues[record.kind] += 1
                if len(examples.setdefault(record.kind, [])) < _EXAMPLES_PER_ISSUE:
                    examples[record.kind].append(record.detail)
            elif isinstance(record, Refusal):
                if on_error == "fail":
                    raise MemSifterError(str(record))
                refused, refused_questions = refused + 1, refused_questions + record.questions
                with (temporary / "refused.jsonl").open("a", encoding="utf-8", errors="backslashreplace") as stream:
                    stream.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
            elif isinstance(record, Haystack):
                writer.add_haystack(record)
            else:
                writer.add_question(record)
        report = writer.close()
        if not report["questions"]:
            reason = f"all {refused_questions} of its questions were refused" if refused else "add questions to it"
            raise MemSifterError(f"the source holds no questions: {reason}")
        report |= {
            "questions_refused": refused_questions,
            "issues": dict(sorted(issues.items())),
            "issue_examples": dict(sorted(examples.items())),
        }
        write_json(temporary / "report.json", report)
    return report


@dataclass(frozen=True)
class HaystackIndex:
    """A haystack by reference: parallel tuples of session ids, content keys and dates, in haystack order."""

    haystack_id: str
    session_ids: tuple[str, ...]
    session_keys: tuple[str, ...]
    dates: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A processed dataset in memory. Sessions stay in Arrow and become Python objects on demand."""

    haystacks: dict[str, HaystackIndex]
    questions: tuple[Question, ...]
    _turns: pa.Table
    _rows: dict[str, int] = field(repr=False)

    @property
    def session_keys(self) -> tuple[str, ...]:
        """Content keys of all distinct sessions, in file order."""
        return tuple(self._rows)

    @property
    def asked_keys(self) -> tuple[str, ...]:
        """Content keys of the distinct sessions that some question is asked of, in file order."""
        asked = {question.haystack_id for question in self.questions}
        keys = {key for haystack_id in asked for key in self.haystacks[haystack_id].session_keys}
        return tuple(key for key in self._rows if key in keys)

    def turns(self, session_key: str) -> tuple[Turn, ...]:
        """The turns of one session."""
        rows = self._turns["turns"][self._rows[session_key]].as_py()
        return tuple(Turn(row["role"], row["content"]) for row in rows)

    def text(self, session_key: str) -> str:
        """The rendered text of one session (`memsifter.corpus.sessions.render_turns`)."""
        return render_turns(self.turns(session_key))

    def haystack_of(self, question: Question) -> HaystackIndex:
        """The haystack that a question is asked of."""
        return self.haystacks[question.haystack_id]

    def within(self, collection: "Dataset") -> "Dataset":
        """The questions of this dataset, in a collection that other sessions belong to as well.

        Those decide with it which words and dates are rare. The collection comes first, in its order, so that a dataset
        of one of its haystacks gets the scores, to the last bit, that this haystack has in the whole.

        Args:
            collection: the others; its questions do not matter.
        """
        new = [key for key in self._rows if key not in collection._rows]
        chosen = pa.array([self._rows[key] for key in new], pa.int64())
        turns = pa.concat_tables([collection._turns, self._turns.take(chosen)])
        rows = collection._rows | {key: len(collection._rows) + row for row, key in enumerate(new)}
        haystacks: dict[str, HaystackIndex] = {}
        for name, haystack in collection.haystacks.items():
            while name in haystacks or name in self.haystacks:  # nothing is asked of it: any other name will do
                name += "'"
            haystacks[name] = haystack
        return Dataset(haystacks | self.haystacks, self.questions, turns, rows)


def build_dataset(records: Iterable[Record]) -> Dataset:
    """The records as a dataset in memory, as `write_dataset` and `load_dataset` make it; issues are left to the caller.

    Raises:
        MemSifterError: a record that no later stage could use.
    """
    haystacks: dict[str, HaystackIndex] = {}
    questions: list[Question] = []
    sessions: dict[str, tuple[Turn, ...]] = {}
    for record in require_valid(records):
        if isinstance(record, Haystack):
            haystacks[record.haystack_id] = HaystackIndex(
                record.haystack_id,
                tuple(session.session_id for session in record.sessions),
                tuple(session.key for session in record.sessions),
                tuple(session.date for session in record.sessions),
            )
            sessions |= {session.key: session.turns for session in record.sessions}
        elif isinstance(record, Question):
            questions.append(record)
    rows = [
        {"session_key": key, "turns": [{"role": turn.role, "content": turn.content} for turn in turns]}
        for key, turns in sessions.items()
    ]
    table = pa.Table.from_pylist(rows, schema=SESSIONS_SCHEMA)
    return Dataset(haystacks, tuple(questions), table, {key: row for row, key in enumerate(sessions)})


def load_dataset(directory: Path, splits: Iterable[Split] | None = None) -> Dataset:
    """Load a processed dataset, with only the questions of `splits` when given.

    Raises:
        MemSifterError: the dataset was not written, is broken, or has no question in `splits`.
    """
    haystacks = {
        row["haystack_id"]: HaystackIndex(
            row["haystack_id"], tuple(row["session_ids"]), tuple(row["session_keys"]), tuple(row["dates"])
        )
        for row in _read_rows(directory / "haystacks.parquet", HAYSTACKS_SCHEMA, "haystack_id").to_pylist()
    }
    wanted = None if splits is None else set(splits)
    questions = tuple(
        Question(**{**row, "answer_session_ids": tuple(row["answer_session_ids"]), "options": tuple(row["options"])})
        for row in _read_rows(directory / "questions.parquet", QUESTIONS_SCHEMA, "question_id").to_pylist()
        if wanted is None or row["split"] in wanted
    )
    if not questions:
        raise MemSifterError(f"{directory}: no question in split(s) {', '.join(sorted(wanted or ()))}")
    turns = _read_rows(directory / "sessions.parquet", SESSIONS_SCHEMA, "session_key")
    rows = {key: row for row, key in enumerate(turns["session_key"].to_pylist())}
    _check_references(directory, haystacks, questions, rows)
    return Dataset(haystacks, questions, turns, rows)


def _read_rows(path: Path, schema: pa.Schema, key: str) -> pa.Table:
    """A table of the dataset, in which every key stands once."""
    table = read_parquet(path, schema)
    if len(table[key].unique()) != len(table):
        raise MemSifterError(f"{path}: a {key} stands there twice; repeat data")
    return table


def _check_references(
    directory: Path, haystacks: dict[str, HaystackIndex], questions: Iterable[Question], sessions: dict[str, int]
) -> None:
    for question in questions:
        if question.haystack_id not in haystacks:
            raise MemSifterError(
                f"{directory}: question {question.question_id!r} asks haystack {question.haystack_id!r}, which "
                "haystacks.parquet does not hold; repeat data"
            )
    for haystack in haystacks.values():
        if not len(haystack.session_ids) == len(haystack.session_keys) == len(haystack.dates):
            raise MemSifterError(f"{directory}: haystack {haystack.haystack_id!r} is damaged; repeat data")
        if missing := next((key for key in haystack.session_keys if key not in sessions), None):
            raise MemSifterError(
                f"{directory}: haystack {haystack.haystack_id!r} names session {missing}, which sessions.parquet does "
                "not hold; repeat data"
            )

"""A processed dataset on disk: streaming writer and loader.

Layout of `data/processed/<dataset>/`: `sessions.parquet` (each distinct session once), `haystacks.parquet` (references
by key), `questions.parquet`, `report.json` (counts, and the reader's repairs with examples) and, where something was
refused and left out, `refused.jsonl` (each refusal).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from memsifter.errors import MemSifterError
from memsifter.files import atomic_directory, read_parquet, write_json
from memsifter.records import Issue, Record, Refusal
from memsifter.sessions import (
    HAYSTACKS_SCHEMA,
    QUESTIONS_SCHEMA,
    SESSIONS_SCHEMA,
    Haystack,
    Question,
    Session,
    Split,
    Turn,
    render_turns,
)
from memsifter.tables import DatasetTables
from memsifter.validation import validate

OnError = Literal["fail", "report"]
_EXAMPLES_PER_ISSUE = 20


def write_dataset(records: Iterable[Record], directory: Path, on_error: OnError = "fail") -> dict[str, Any]:
    """Stream a reader's records, checked by `memsifter.validation.validate`, into `directory`, replacing it whole.

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

    def turns(self, session_key: str) -> tuple[Turn, ...]:
        """The turns of one session."""
        rows = self._turns["turns"][self._rows[session_key]].as_py()
        return tuple(Turn(row["role"], row["content"]) for row in rows)

    def text(self, session_key: str) -> str:
        """The rendered text of one session (`memsifter.sessions.render_turns`)."""
        return render_turns(self.turns(session_key))

    def haystack_of(self, question: Question) -> HaystackIndex:
        """The haystack that a question is asked of."""
        return self.haystacks[question.haystack_id]

    def records(self) -> Iterator[Haystack | Question]:
        """The whole dataset as a reader would yield it: each haystack, then all questions."""
        for index in self.haystacks.values():
            parts = zip(index.session_ids, index.dates, index.session_keys, strict=True)
            yield Haystack(index.haystack_id, tuple(Session(name, date, self.turns(key)) for name, date, key in parts))
        yield from self.questions


def load_dataset(directory: Path, splits: Iterable[Split] | None = None) -> Dataset:
    """Load a processed dataset, with only the questions of `splits` when given.

    Raises:
        MemSifterError: the dataset was not written, is broken, or has no question in `splits`.
    """
    haystacks = {
        row["haystack_id"]: HaystackIndex(
            row["haystack_id"], tuple(row["session_ids"]), tuple(row["session_keys"]), tuple(row["dates"])
        )
        for row in read_parquet(directory / "haystacks.parquet", HAYSTACKS_SCHEMA.names).to_pylist()
    }
    wanted = None if splits is None else set(splits)
    questions = tuple(
        Question(**{**row, "answer_session_ids": tuple(row["answer_session_ids"]), "options": tuple(row["options"])})
        for row in read_parquet(directory / "questions.parquet", QUESTIONS_SCHEMA.names).to_pylist()
        if wanted is None or row["split"] in wanted
    )
    if not questions:
        raise MemSifterError(f"{directory}: no question in split(s) {', '.join(sorted(wanted or ()))}")
    turns = read_parquet(directory / "sessions.parquet", SESSIONS_SCHEMA.names)
    keys = turns["session_key"].to_pylist()
    return Dataset(haystacks, questions, turns, {key: row for row, key in enumerate(keys)})

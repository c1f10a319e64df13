"""What a reader yields, and the one check that every record passes before it is stored."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from memsifter.corpus.sessions import Haystack, Question, check_haystack, check_question
from memsifter.errors import DataError, MemSifterError


@dataclass(frozen=True)
class Issue:
    """Something a reader repaired or noticed. Counted and reported, never dropped in silence."""

    kind: str
    detail: str


@dataclass(frozen=True)
class Position:
    """The records that follow come from here, for example `questions.jsonl: row 12`."""

    where: str


@dataclass(frozen=True)
class Refusal:
    """A part of the source that cannot be used, and the number of questions that are lost with it."""

    where: str
    field: str
    problem: str
    fix: str
    questions: int

    def __str__(self) -> str:
        # Errors of a reader name the place themselves; those of the validation know only the record.
        place = f"{self.where}: " if self.where and self.where not in self.problem else ""
        return f"{place}{self.problem}{'; ' if self.fix else ''}{self.fix}"


Record = Haystack | Question | Issue | Position | Refusal
"""What a reader yields. A haystack comes before its questions; memory holds one record at a time."""


def refuse(where: str, error: DataError, questions: int) -> Refusal:
    """The refusal of what `error` was raised for."""
    return Refusal(where, error.field, error.problem, error.fix, questions)


def guard(where: str, records: Iterable[Record], questions: int = 1) -> Iterator[Record]:
    """Pass on the records of one row; an error ends the row with a refusal instead of ending the reading.

    Args:
        where: file and row.
        records: what the row gives; lazy, so that its errors arise here.
        questions: how many questions an error costs.
    """
    yield Position(where)
    try:
        yield from records
    except DataError as error:
        yield refuse(where, error, questions)


def validate(records: Iterable[Record]) -> Iterator[Haystack | Question | Issue | Refusal]:
    """Pass on valid haystacks and questions, and a refusal in place of each that no later stage could use.

    Refused are what `check_haystack` and `check_question` refuse, an id that repeats, and a question whose haystack
    does not exist or was refused. Memory holds the ids, not the contents.
    """
    session_ids: dict[str, frozenset[str]] = {}
    question_ids: set[str] = set()
    where = ""
    for record in records:
        if isinstance(record, Position):
            where = record.where
            continue
        if isinstance(record, (Issue, Refusal)):
            yield record
            continue
        try:
            if isinstance(record, Haystack):
                _check_new_haystack(record, session_ids)
                session_ids[record.haystack_id] = frozenset(session.session_id for session in record.sessions)
            else:
                _check_new_question(record, session_ids, question_ids)
                question_ids.add(record.question_id)
        except DataError as error:
            yield refuse(where, error, questions=isinstance(record, Question))
        else:
            yield record


def require_valid(records: Iterable[Record]) -> Iterator[Haystack | Question | Issue]:
    """Validate records whose source must be without errors.

    Raises:
        MemSifterError: at the first refusal.
    """
    for record in validate(records):
        if isinstance(record, Refusal):
            raise MemSifterError(str(record))
        yield record


def _check_new_haystack(haystack: Haystack, known: dict[str, frozenset[str]]) -> None:
    check_haystack(haystack)
    if haystack.haystack_id in known:
        raise DataError(
            f"haystack id {haystack.haystack_id!r} appears twice; ids must be unique",
            field="haystack_id",
            fix="give each haystack an id of its own",
        )


def _check_new_question(question: Question, haystacks: dict[str, frozenset[str]], known: set[str]) -> None:
    if question.haystack_id not in haystacks:
        raise DataError(
            f"question {question.question_id!r}: haystack {question.haystack_id!r} does not exist",
            field="haystack_id",
            fix="put the haystack before its questions, or repair it where it was refused",
        )
    check_question(question, haystacks[question.haystack_id])
    if question.question_id in known:
        raise DataError(
            f"question id {question.question_id!r} appears twice; ids must be unique",
            field="question_id",
            fix="rename or remove one of the two",
        )

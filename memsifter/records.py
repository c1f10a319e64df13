"""What a reader yields: haystacks and questions, and what it has to say about them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from memsifter.errors import DataError
from memsifter.sessions import Haystack, Question


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

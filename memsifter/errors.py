"""The one exception that users are meant to see, and what errors say.

A stage turns it into a single line on stderr and exit code 1 (see `memsifter.command`); every other exception is a bug
and keeps its traceback.
"""

from collections.abc import Iterator
from pathlib import Path


class MemSifterError(Exception):
    """Bad input or a broken environment. The message says what is wrong, where, and what to do."""


class DataError(MemSifterError):
    """One thing wrong in data that a user brought.

    Attributes:
        problem: where it is and what is wrong.
        field: the field that holds it, "" when it is the row or the file.
        fix: what to do about it.
    """

    def __init__(self, problem: str, *, field: str = "", fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}; {self.fix}" if self.fix else self.problem


def full_disk_message(path: Path | str) -> str:
    """What to tell the user when what is written to `path` does not fit."""
    return f"{path}: the disk is full; free some space, then run the same command again"


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__

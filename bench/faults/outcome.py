"""What a campaign has tried and what did not survive, kept as JSON, from which docs/reliability.md is written."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, write_json
from memsifter.io.paths import ROOT

MOST_CHARS = 30_000  # of an error; longer ones are no line that a person reads
_FAILURES_SHOWN = 20


@dataclass
class Campaign:
    """Counts by kind, and the failures.

    Attributes:
        name: of the campaign: values, files, servers, kills or stage_kills.
        command: how to repeat it.
        commit: of the working tree when it began.
        tried: how many cases of each kind were tried.
        outcomes: how they ended, where they survived.
        failures: each case that did not survive, with how to repeat it.
        notes: further measured facts, a line each.
    """

    name: str
    command: str
    commit: str = field(default_factory=lambda: commit())
    tried: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, kind: str, outcome: str) -> None:
        """Count a case that survived."""
        self.tried[kind] = self.tried.get(kind, 0) + 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def fail(self, kind: str, what: str) -> None:
        """Count a case that did not survive."""
        self.tried[kind] = self.tried.get(kind, 0) + 1
        self.failures.append(f"{kind}: {what}")

    @property
    def total(self) -> int:
        """The number of cases."""
        return sum(self.tried.values())

    def row(self) -> str:
        """The campaign in one line, for the terminal."""
        ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        survived = self.total - len(self.failures)
        return f"{self.name}: {survived} of {self.total} survived in {len(self.tried)} kinds ({ended or 'none'})"

    def save(self, folder: Path) -> None:
        """Write `<folder>/<name>.json`, with the commit and the day."""
        write_json(
            folder / f"{self.name}.json",
            {
                "command": self.command,
                "commit": self.commit,
                "date": datetime.now(UTC).date().isoformat(),
                "tried": dict(sorted(self.tried.items())),
                "outcomes": dict(sorted(self.outcomes.items())),
                "failures": self.failures,
                "notes": self.notes,
            },
        )

    def show(self) -> None:
        """Print the row, and how to repeat each failure."""
        print(self.row())
        for failure in self.failures[:_FAILURES_SHOWN]:
            print(f"  FAILED {failure}")
        if len(self.failures) > _FAILURES_SHOWN:
            print(f"  and {len(self.failures) - _FAILURES_SHOWN} more")
        for note in self.notes:
            print(f"  {note}")


def load_campaign(folder: Path, name: str) -> dict[str, Any] | None:
    """What `Campaign.save` wrote; None if the campaign was not run."""
    path = folder / f"{name}.json"
    return dict(read_json(path)) if path.exists() else None


def commit() -> str:
    """The commit of the working tree, with a plus if it was edited since."""
    head = _git("rev-parse", "--short=10", "HEAD")
    return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no", "--", "memsifter", "stages") else head


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()  # noqa: S607


def describe_problem(error: BaseException) -> str | None:
    """What is wrong with an error as the answer to bad input; None for one clear line.

    Control characters in it are not judged: a command shows them as escapes (`memsifter.command.printable`).
    """
    if not isinstance(error, MemSifterError):
        return f"{type(error).__name__}: {str(error)[:300]}"
    line = str(error).strip()
    if not line or "\n" in line:
        return f"not one line: {line[:300]!r}"
    if len(line) > MOST_CHARS:
        return f"a line of {len(line)} characters: {line[:300]!r}"
    return None


class HungError(BaseException):
    """A case took too long. Not an `Exception`, so that nothing takes it for the outcome."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `HungError` in the main thread after so many seconds of processor time: a busy machine proves nothing."""

    def stop(_: int, __: FrameType | None) -> None:
        raise HungError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)

"""What SQLite says of a file, as an error that says what to do."""

import sqlite3
from pathlib import Path

from memsifter.errors import MemSifterError

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it; try again",
    sqlite3.SQLITE_FULL: "free some space, then try again",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_OTHERWISE = "see that it is open, and that its disk works and may be written to"


def sqlite_error(path: Path | str, error: sqlite3.Error, damaged: str, state: str = "") -> MemSifterError:
    """The error for a user.

    Args:
        path: the file, or what stands for it.
        error: what SQLite said.
        damaged: what to do where the file is damaged, or is no database.
        state: what became of the work, if that is to be told.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it tells kinds of the same error apart
    advice = damaged if code in _DAMAGED else _ADVICE.get(code, _OTHERWISE)
    return MemSifterError("; ".join(filter(None, (f"{path}: {str(error).rstrip('.')}", state, advice))))

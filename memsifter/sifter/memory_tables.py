"""The tables of a memory: one SQLite file, in which a session is there whole or not at all."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bm25s.stopwords import STOPWORDS_EN_PLUS

from memsifter.corpus.sessions import Session, Turn
from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_json
from memsifter.retrieval.bm25 import SessionTerms, read_terms
from memsifter.sifter.sqlite_errors import sqlite_error
from memsifter.sifter.vector_store import VECTOR_COLUMNS, VECTORS_TABLE

BUSY_S = 60.0
"""How long to wait for others who hold the file."""
DAMAGED = "it is no memory, or a damaged one: name another file, or restore it from a copy"
"""What to do with a file that SQLite cannot read."""
_FORMAT = "1"
_TABLES = frozenset({"meta", "sessions", "contents", "units", "vectors"})
_PROBE = "Running runners' e-mails, Café ﬁnances: 3.5 km² at 10:30; 我喜欢北京的秋天. O'Neill_42 naïve İstanbul déjà-vu"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS sessions(
        number INTEGER PRIMARY KEY, user TEXT NOT NULL, session_id TEXT NOT NULL, date TEXT NOT NULL,
        session_key TEXT NOT NULL, UNIQUE(user, session_id))""",
    "CREATE INDEX IF NOT EXISTS sessions_content ON sessions(session_key)",
    # Equal sessions of several users are stored once, and so are equal texts of several sessions.
    "CREATE TABLE IF NOT EXISTS contents(session_key TEXT PRIMARY KEY, turns TEXT NOT NULL, terms BLOB NOT NULL)",
    """CREATE TABLE IF NOT EXISTS units(
        session_key TEXT NOT NULL, number INTEGER NOT NULL, unit TEXT NOT NULL, first INTEGER NOT NULL,
        end INTEGER NOT NULL, text_key BLOB NOT NULL, PRIMARY KEY(session_key, number)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS units_text ON units(text_key)",
    VECTORS_TABLE,
)


def open_tables(path: Path, identity: dict[str, str]) -> sqlite3.Connection:
    """Open a memory's file, or make it.

    Args:
        path: the file.
        identity: by name, what the stored vectors depend on.

    Raises:
        MemSifterError: it is no memory, or one of another embedder. A database of something else stays as it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In autocommit mode the transactions are those that are written out.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
        try:
            _refuse_other(path, connection)
            found = _make_tables(connection, wanted := {"format": _FORMAT, **identity})
            _check_identity(path, found, wanted)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise sqlite_error(path, error, DAMAGED) from error
    return connection


def _refuse_other(path: Path, connection: sqlite3.Connection) -> None:
    found = {name for (name,) in connection.execute("SELECT tbl_name FROM sqlite_master ORDER BY rowid")}
    if found and not found >= _TABLES:
        raise MemSifterError(
            f"{path}: a database of something else (it has {', '.join(sorted(found)[:3])}); name the file of a memory, "
            "or a new one"
        )


def _make_tables(connection: sqlite3.Connection, wanted: Mapping[str, str]) -> dict[str, str]:
    """Make what is not there yet; what is written of the memory's identity."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # what is acknowledged survives a power cut, too
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", wanted.items())
    connection.execute("COMMIT")
    return dict(connection.execute("SELECT name, value FROM meta"))


def _check_identity(path: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for name, value in wanted.items():
        if found[name] != value:
            raise MemSifterError(
                f"{path}: its {name} is {found[name][:80]}, the sifter's is {value[:80]}; open it with the embedder "
                "and the settings that it was made with, or add the sessions to a new file"
            )


def clear_log(connection: sqlite3.Connection) -> bool:
    """Move what the log (the -wal file) holds to the memory's file, and cut the log to nothing.

    Returns:
        Whether it is empty; it is not while others still read what was there before.
    """
    # Waiting within SQLite would keep the others from writing.
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_S:.0f}")
    return not busy


def insert_content(connection: sqlite3.Connection, session: Session, terms: SessionTerms) -> None:
    """Store the turns and terms of a session."""
    turns = json.dumps([[turn.role, turn.content] for turn in session.turns], ensure_ascii=False)
    connection.execute("INSERT INTO contents VALUES (?, ?, ?)", (session.key, turns, _pack(terms)))


def known_contents(connection: sqlite3.Connection, keys: Iterable[str]) -> set[str]:
    """Which contents are stored, of these keys."""
    query = "SELECT session_key FROM contents WHERE session_key = ?"
    return {key for key in keys if connection.execute(query, (key,)).fetchone()}


def put_session(
    connection: sqlite3.Connection, user: str, session: Session
) -> Literal["added", "unchanged", "replaced"]:
    """Make a session, whose content is stored, one of a user; it takes the place of the one with its id."""
    found = connection.execute(
        "SELECT number, date, session_key FROM sessions WHERE user = ? AND session_id = ?", (user, session.session_id)
    ).fetchone()
    if found is None:
        connection.execute(
            "INSERT INTO sessions(user, session_id, date, session_key) VALUES (?, ?, ?, ?)",
            (user, session.session_id, session.date, session.key),
        )
        return "added"
    number, day, key = found
    if (day, key) == (session.date, session.key):
        return "unchanged"
    connection.execute(
        "UPDATE sessions SET date = ?, session_key = ? WHERE number = ?", (session.date, session.key, number)
    )
    drop_unused(connection, [key])
    return "replaced"


def refresh_terms(connection: sqlite3.Connection) -> None:
    """Read the terms of all contents again where another version of the library read them in another way."""
    current = _analysis()
    found = connection.execute("SELECT value FROM meta WHERE name = 'analysis'").fetchone()
    if found == (current,):
        return
    if found is not None:
        for key, text in connection.execute("SELECT session_key, turns FROM contents").fetchall():
            terms = read_terms([Turn(role, content) for role, content in json.loads(text)])
            connection.execute("UPDATE contents SET terms = ? WHERE session_key = ?", (_pack(terms), key))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('analysis', ?)", (current,))


@cache
def _analysis() -> str:
    """A hash of how text becomes terms, told from what becomes of a probe."""
    terms = read_terms([Turn("user", _PROBE)])
    return sha256_json([sorted(STOPWORDS_EN_PLUS), terms.terms, [list(turn) for turn in terms.turns]])


def select_sessions(connection: sqlite3.Connection, user: str) -> tuple[list[Session], dict[str, SessionTerms]]:
    """A user's sessions in the order added, and the terms of each by its key."""
    turns: dict[str, tuple[Turn, ...]] = {}
    terms: dict[str, SessionTerms] = {}
    owned = "SELECT DISTINCT session_key FROM sessions WHERE user = ?"
    query = f"SELECT session_key, turns, terms FROM contents WHERE session_key IN ({owned})"  # noqa: S608 - constants
    for key, text, blob in connection.execute(query, (user,)):
        turns[key] = tuple(Turn(role, content) for role, content in json.loads(text))
        terms[key] = _unpack(blob)
    rows = connection.execute(
        "SELECT session_id, date, session_key FROM sessions WHERE user = ? ORDER BY number", (user,)
    )
    return [Session(name, day, turns[key]) for name, day, key in rows], terms


def select_units(connection: sqlite3.Connection, user: str) -> Iterator[tuple[Any, ...]]:
    """The units of a user's distinct sessions: session key, kind, first, end, and `VECTOR_COLUMNS`."""
    # The kinds one after the other, the units of a session in order: as stage `embed` writes them.
    return connection.execute(
        f"""SELECT units.session_key, unit, first, end, {VECTOR_COLUMNS}
            FROM (SELECT session_key, min(number) AS place FROM sessions WHERE user = ? GROUP BY session_key) AS owned
            JOIN units ON units.session_key = owned.session_key JOIN vectors ON vectors.text_key = units.text_key
            ORDER BY unit, place, units.number""",  # noqa: S608 - constants
        (user,),
    )


def drop_unused(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Delete what only these contents, which no session has any more, had: turns, terms, units and vectors."""
    for key in keys:
        if connection.execute("SELECT 1 FROM sessions WHERE session_key = ? LIMIT 1", (key,)).fetchone():
            continue
        texts = connection.execute("SELECT DISTINCT text_key FROM units WHERE session_key = ?", (key,)).fetchall()
        connection.execute("DELETE FROM units WHERE session_key = ?", (key,))
        connection.execute("DELETE FROM contents WHERE session_key = ?", (key,))
        connection.executemany(
            "DELETE FROM vectors WHERE text_key = ?1 AND NOT EXISTS (SELECT 1 FROM units WHERE text_key = ?1)", texts
        )


def check_tables(connection: sqlite3.Connection) -> list[str]:
    """What is half there: nothing, unless the file was damaged."""
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    for name, query in (
        ("sessions without content", "SELECT session_key FROM sessions EXCEPT SELECT session_key FROM contents"),
        ("sessions without units", "SELECT session_key FROM sessions EXCEPT SELECT session_key FROM units"),
        ("units without vector", "SELECT text_key FROM units EXCEPT SELECT text_key FROM vectors"),
        ("contents of no session", "SELECT session_key FROM contents EXCEPT SELECT session_key FROM sessions"),
        ("units of no session", "SELECT session_key FROM units EXCEPT SELECT session_key FROM sessions"),
        ("vectors of no unit", "SELECT text_key FROM vectors EXCEPT SELECT text_key FROM units"),
    ):
        if count := len(connection.execute(query).fetchall()):
            problems.append(f"{count} {name}")
    return problems


def _pack(terms: SessionTerms) -> bytes:
    """The number of bytes of the words, the words as JSON, the length of each turn and all numbers, as int32."""
    words = json.dumps(terms.terms, ensure_ascii=False).encode()
    lengths = [len(turn) for turn in terms.turns]
    numbers = [number for turn in terms.turns for number in turn]
    header = np.asarray([len(words), len(lengths)], dtype="<i4")
    return b"".join([header.tobytes(), words, np.asarray([*lengths, *numbers], dtype="<i4").tobytes()])


def _unpack(blob: bytes) -> SessionTerms:
    size, count = np.frombuffer(blob, dtype="<i4", count=2).tolist()
    start = 8
    words: Sequence[str] = json.loads(blob[start : start + size])
    values = np.frombuffer(blob[start + size :], dtype="<i4")
    ends = np.cumsum(values[:count])[:-1]
    return SessionTerms(tuple(words), tuple(np.split(values[count:], ends)))

"""A store of the sessions of many users, kept as they happen and searched at any time."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from memsifter.corpus.sessions import Session
from memsifter.errors import MemSifterError
from memsifter.retrieval.embedder import embedding_settings, join_embeddings
from memsifter.retrieval.embedding_tables import UNIT_FIELDS
from memsifter.sifter import memory_tables as tables
from memsifter.sifter.inputs import read_session
from memsifter.sifter.memory_contents import NewContents, compute_contents, insert_contents
from memsifter.sifter.results import SiftedAnswer, SiftedSession
from memsifter.sifter.search import Date, Prepared
from memsifter.sifter.sifter import Sifter
from memsifter.sifter.sqlite_errors import sqlite_error
from memsifter.sifter.vector_store import embedding_table, known_keys

Outcome = Literal["added", "unchanged", "replaced"]

_ID_DIGITS = 16
_SESSIONS_PER_TRANSACTION = 64
_CHECKED_EVERY_S = 0.05


class Memory:
    """The sessions of any number of users in one SQLite file, with their vectors and terms.

    What a method has returned is on disk: a process that is killed loses nothing of it and leaves nothing half there.
    A session costs the same to add however many there are, and its texts are embedded once. Methods may be called from
    several threads and processes at once.
    """

    def __init__(self, path: Path | str, sifter: Sifter) -> None:
        """Open a memory, or make one.

        Args:
            path: its file.
            sifter: embeds, searches and answers; the memory does not close it.

        Raises:
            MemSifterError: the file is no memory, or was made with another embedder or another way to cut sessions.
        """
        self._path, self._sifter = Path(path), sifter
        self._reader = sifter.encoder.reader
        settings = asdict(embedding_settings(self._reader, 0))
        cut = {name: value for name, value in settings.items() if name not in ("fingerprint", "dimensions")}
        identity = {"embedder": self._reader.fingerprint, "settings": json.dumps(cut, sort_keys=True)}
        self._connection = tables.open_tables(self._path, identity)
        self._lock = threading.RLock()  # of the connection
        self._changing = threading.Lock()  # what a call found new stays new until it is stored
        with self._transaction() as connection:
            tables.refresh_terms(connection)

    def add(self, user: str, session: Any) -> Outcome:
        """Keep a session of a user.

        Args:
            user: whose it is.
            session: in any of the forms of `memsifter.sifter.inputs`. Its id is unique for the user; without one it is
                a hash of the turns. One that has an id of the user's replaces that session, such as when a conversation
                went on; if it is equal, nothing changes.

        Raises:
            MemSifterError: the session is malformed, or could not be written.
        """
        return self.add_many(user, [session])[0]

    def add_many(self, user: str, sessions: Iterable[Any]) -> list[Outcome]:
        """`add` for several sessions, in order; those before a malformed one are kept."""
        _check_name(user, "user")
        outcomes: list[Outcome] = []
        batch: list[Session] = []
        for number, item in enumerate(sessions):
            session = read_session(item, f"sessions[{number}]")
            batch.append(session if session.session_id else replace(session, session_id=session.key[:_ID_DIGITS]))
            if len(batch) == _SESSIONS_PER_TRANSACTION:
                outcomes += self._store(user, batch)
                batch = []
        return outcomes + self._store(user, batch)

    def search(
        self,
        user: str,
        question: str,
        question_date: Date = None,
        top_k: int = 5,
        min_score: float | None = None,
    ) -> list[SiftedSession]:
        """`Sifter.sift` over the sessions of a user; `index` counts them in the order added. Empty without sessions."""
        sessions, prepared = self._load(user)
        if not sessions:
            return []
        asked = (question, question_date)
        return self._sifter.search_prepared(sessions, asked, top_k, min_score, prepared).sessions[0]

    def answer(
        self,
        user: str,
        question: str,
        question_date: Date = None,
        *,
        base_url: str | None = None,
        model: str | None = None,
        api_key_env: str | None = None,
        top_k: int | None = None,
    ) -> SiftedAnswer:
        """`Sifter.answer` from the sessions of a user.

        Raises:
            MemSifterError: as there, or the user has no sessions.
        """
        sessions, prepared = self._load(user)
        if not sessions:
            raise MemSifterError(f"{self._path}: no session of user {user!r}; add one before asking")
        asked = (question, question_date)
        return self._sifter.answer_prepared(sessions, asked, prepared, base_url, model, api_key_env, top_k)

    async def aadd(self, user: str, session: Any) -> Outcome:
        """`add` in a thread, for code that is async."""
        return await asyncio.to_thread(self.add, user, session)

    async def asearch(
        self, user: str, question: str, question_date: Date = None, **options: Any
    ) -> list[SiftedSession]:
        """`search` in a thread, for code that is async."""
        return await asyncio.to_thread(self.search, user, question, question_date, **options)

    async def aanswer(self, user: str, question: str, question_date: Date = None, **options: Any) -> SiftedAnswer:
        """`answer` in a thread, for code that is async."""
        return await asyncio.to_thread(self.answer, user, question, question_date, **options)

    def delete(self, user: str, session_id: str | None = None) -> int:
        """Delete a session of a user, or all of them, with all that was derived from them; says how many.

        What other sessions share, such as equal texts, stays. Deleted content is overwritten in the file.

        Raises:
            MemSifterError: it could not be deleted; or it is deleted, and others who read what was there before keep it
                from being overwritten. Another call, which then finds nothing to delete, overwrites it.
        """
        where, values = ("", (user,)) if session_id is None else (" AND session_id = ?", (user, session_id))
        with self._changing, self._transaction() as connection:
            # The condition is one of two constants.
            found = connection.execute(f"SELECT session_key FROM sessions WHERE user = ?{where}", values).fetchall()  # noqa: S608
            connection.execute(f"DELETE FROM sessions WHERE user = ?{where}", values)  # noqa: S608
            tables.drop_unused(connection, {key for (key,) in found})
        self._overwrite_deleted()
        return len(found)

    def users(self) -> list[str]:
        """All users who have sessions, sorted."""
        with self._opened() as connection:
            return [user for (user,) in connection.execute("SELECT DISTINCT user FROM sessions ORDER BY user")]

    def sessions(self, user: str) -> list[Session]:
        """The sessions of a user, in the order added."""
        return self._load(user)[0]

    def check(self) -> list[str]:
        """What is damaged or half there, in words; nothing as long as the disk does what it says."""
        with self._opened() as connection:
            return tables.check_tables(connection)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, user: str) -> tuple[list[Session], Prepared | None]:
        with self._transaction("DEFERRED") as connection:
            sessions, terms = tables.select_sessions(connection, user)
            if not sessions:
                return [], None
            columns = list(zip(*tables.select_units(connection, user), strict=True))
        units = join_embeddings(columns[:4], UNIT_FIELDS, embedding_table(list(zip(*columns[4:], strict=True))))
        return sessions, Prepared(units, terms)

    def _store(self, user: str, sessions: Sequence[Session]) -> list[Outcome]:
        with self._changing:
            while True:
                new = self._prepare(sessions)
                with self._transaction() as connection:
                    if not insert_contents(connection, sessions, new):
                        continue  # another process deleted in the meantime what was not new
                    outcomes = [tables.put_session(connection, user, session) for session in sessions]
                break
        if "replaced" in outcomes:
            with suppress(MemSifterError), self._opened() as connection:  # the sessions are kept in any case
                tables.clear_log(connection)
        return outcomes

    def _prepare(self, sessions: Sequence[Session]) -> NewContents:
        """What has to be computed for these sessions, without holding the file."""
        contents = {session.key: session for session in sessions}
        with self._opened() as connection:
            known = tables.known_contents(connection, contents)
        new = {key: session for key, session in contents.items() if key not in known}
        return compute_contents(new, self._sifter.encoder, self._embedded)

    def _embedded(self, keys: Sequence[bytes]) -> set[bytes]:
        with self._opened() as connection:
            return known_keys(connection, keys)

    def _overwrite_deleted(self) -> None:
        """Wait until nobody reads the state before; the log then holds nothing of it any more."""
        state = f"the content is deleted, but {self._path.name}-wal may still hold it"
        until = time.monotonic() + tables.BUSY_S
        while True:
            with self._opened(state) as connection:
                if tables.clear_log(connection):
                    return
            if time.monotonic() > until:
                raise MemSifterError(
                    f"{self._path}: {state}, since others read what was there before; call delete again when they have "
                    "ended"
                )
            time.sleep(_CHECKED_EVERY_S)

    @contextmanager
    def _opened(self, state: str = "") -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; `state` is what to tell besides where SQLite fails."""
        try:
            with self._lock:
                yield self._connection
        except sqlite3.Error as error:
            raise sqlite_error(self._path, error, tables.DAMAGED, state) from error

    @contextmanager
    def _transaction(self, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """All of a block or nothing, in this process and for others."""
        with self._opened("nothing of this call was kept" if kind == "IMMEDIATE" else "") as connection:
            connection.execute(f"BEGIN {kind}")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise


def _check_name(value: Any, what: str) -> None:
    if not isinstance(value, str) or not value:
        raise MemSifterError(f"{what}: expected a text that is not empty, got {value!r}")

"""A cache of texts, kept as SQLite by diskcache and safe for several processes at once.

Nothing is ever unpickled, so a tampered cache can at worst give wrong texts. Entries are never evicted; the folder may
be deleted at any time.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_PICKLE

from memsifter.errors import MemSifterError, full_disk_message


class _TextDisk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's storage without its use of pickle."""

    def put(self, key: Any) -> Any:
        return super().put(_text(key))

    def get(self, key: Any, raw: bool) -> Any:
        if not raw:
            raise ValueError("a pickled key")
        return super().get(key, raw)

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
        return super().store(_text(value), read, key=key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == MODE_PICKLE:
            raise ValueError("a pickled value")
        return super().fetch(mode, filename, value, read)


class TextCache:
    """Texts by key, in one folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            self._entries = diskcache.Cache(str(directory), disk=_TextDisk, eviction_policy="none")
        except sqlite3.DatabaseError as error:
            raise self.broken(error) from error

    def get(self, key: str) -> str | None:
        """The text, or None.

        Raises:
            MemSifterError: the cache is damaged or cannot be read.
        """
        try:
            text: str | None = self._entries.get(key, retry=True)
        except (sqlite3.DatabaseError, ValueError) as error:
            raise self.broken(error) from error
        return text

    def put(self, key: str, text: str) -> None:
        """Keep a text.

        Raises:
            MemSifterError: the cache is damaged or cannot be written.
        """
        try:
            self._entries.set(key, text, retry=True)
        except sqlite3.DatabaseError as error:
            raise self.broken(error) from error

    def put_all(self, texts: Mapping[str, str]) -> None:
        """Keep some texts by key: all of them, or none if the process is killed meanwhile.

        Raises:
            MemSifterError: the cache is damaged or cannot be written.
        """
        try:
            with self._entries.transact(retry=True):
                for key, text in texts.items():
                    self._entries.set(key, text, retry=True)
        except sqlite3.DatabaseError as error:
            raise self.broken(error) from error

    def add(self, key: str, text: str) -> str:
        """Keep a text unless another process was faster.

        Returns:
            The text that is kept.

        Raises:
            MemSifterError: the cache is damaged or cannot be written.
        """
        try:
            if self._entries.add(key, text, retry=True):
                return text
        except sqlite3.DatabaseError as error:
            raise self.broken(error) from error
        kept = self.get(key)
        return text if kept is None else kept

    def close(self) -> None:
        """Close this process's connection."""
        self._entries.close()

    def broken(self, error: Exception) -> MemSifterError:
        """The error to raise for an entry that cannot be read or written."""
        if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return MemSifterError(full_disk_message(self._directory))
        return MemSifterError(f"{self._directory}: the cache does not work ({error}); if it is damaged, delete it")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the cache holds text, not {type(value).__name__}")
    return value

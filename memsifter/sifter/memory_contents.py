"""What new sessions bring into a memory: turns, terms, units of text and vectors, computed before they are stored."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from memsifter.corpus.sessions import Haystack, Session
from memsifter.corpus.store import build_dataset
from memsifter.retrieval.bm25 import SessionTerms, read_terms
from memsifter.retrieval.embedder import UnitRow, list_units
from memsifter.retrieval.embedding_tables import text_key
from memsifter.retrieval.encoder import text_block
from memsifter.sifter.encoder import TextEncoder
from memsifter.sifter.inputs import HAYSTACK
from memsifter.sifter.memory_tables import insert_content, known_contents
from memsifter.sifter.vector_store import insert_vectors, known_keys

_TEXTS_PER_BLOCK = 256


@dataclass(frozen=True)
class NewContents:
    """What is stored of sessions whose content is new.

    Attributes:
        sessions: by their key.
        terms: of each session, by its key.
        units: of all sessions.
        vectors: of those texts that are new; rows of `memsifter.retrieval.vectors.part_schema`.
    """

    sessions: Mapping[str, Session]
    terms: Mapping[str, SessionTerms]
    units: Sequence[UnitRow]
    vectors: Sequence[pa.Table]


def compute_contents(
    new: Mapping[str, Session], encoder: TextEncoder, embedded: Callable[[Sequence[bytes]], set[bytes]]
) -> NewContents:
    """Read the terms of sessions, cut them into units, and embed the texts that are new.

    Args:
        new: sessions by their key.
        encoder: embeds.
        embedded: tells which texts the memory has vectors of, of the keys given.
    """
    if not new:
        return NewContents({}, {}, (), ())
    renamed = tuple(replace(session, session_id=key) for key, session in new.items())
    units = list_units(build_dataset([Haystack(HAYSTACK, renamed)]), list(new), encoder.reader)
    texts = {text_key(unit[-1]): unit[-1] for unit in units}
    known = embedded(list(texts))
    todo = [text for key, text in texts.items() if key not in known]
    blocks = [todo[first : first + _TEXTS_PER_BLOCK] for first in range(0, len(todo), _TEXTS_PER_BLOCK)]
    vectors = [encoder(text_block(block)) for block in blocks]
    return NewContents(new, {key: read_terms(session.turns) for key, session in new.items()}, units, vectors)


def insert_contents(connection: sqlite3.Connection, sessions: Sequence[Session], new: NewContents) -> bool:
    """Store what is new; False, with nothing that matters stored, if something else of these sessions is missing."""
    for rows in new.vectors:
        insert_vectors(connection, rows)
    texts = {text_key(unit[-1]) for unit in new.units}
    if texts - known_keys(connection, list(texts)):
        return False
    present = known_contents(connection, [session.key for session in sessions])
    if any(session.key not in present and session.key not in new.sessions for session in sessions):
        return False
    numbers: dict[str, int] = {}
    for key, session in new.sessions.items():
        if key not in present:
            insert_content(connection, session, new.terms[key])
    for key, kind, first, end, text in new.units:
        if key not in present:
            numbers[key] = numbers.get(key, -1) + 1
            row = (key, numbers[key], kind, first, end, text_key(text))
            connection.execute("INSERT INTO units VALUES (?, ?, ?, ?, ?, ?)", row)
    return True

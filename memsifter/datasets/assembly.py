"""Build a haystack from parallel lists of ids, dates and sessions, as LongMemEval and the flat layout store it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memsifter.corpus.records import Issue, Record
from memsifter.corpus.sessions import Haystack, Session, Turn
from memsifter.datasets.io.layout import check_kind, require
from memsifter.errors import DataError
from memsifter.io.files import sha256_json

_ID_DIGITS = 16
SYSTEM_ROLES = ("system", "developer")  # instructions of whoever runs the assistant, and no talk


@dataclass(frozen=True)
class Assembly:
    """A haystack and how the source's session ids map to its own.

    `occurrences` gives, for each id in the source, the ids of the kept sessions: none for a session without turns, more
    than one where the source repeats an id. `issues` describe these cases.
    """

    haystack: Haystack
    occurrences: dict[str, tuple[str, ...]]
    issues: tuple[Issue, ...]

    def resolve_gold(self, source_ids: Sequence[str], where: str) -> tuple[tuple[str, ...], tuple[Issue, ...]]:
        """Map a question's gold ids to kept sessions: every occurrence of a repeated id is gold.

        An id that the haystack does not have is returned as it is; `memsifter.corpus.store.write_dataset` refuses it.
        """
        gold: dict[str, None] = {}
        issues = []
        for source_id in source_ids:
            kept = self.occurrences.get(source_id, (source_id,))
            if not kept:
                issues.append(Issue("gold_session_empty", f"{where}: gold session {source_id!r} has no turns"))
            gold.update(dict.fromkeys(kept))
        return tuple(gold), tuple(issues)


class HaystackShelf:
    """Yields each haystack of a source once, however many rows repeat it."""

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}

    def check(self, haystack: Haystack, where: str) -> None:
        """Refuse a haystack whose id stood for other sessions before.

        Raises:
            DataError: it did.
        """
        if self._hashes.get(haystack.haystack_id, digest := content_hash(haystack)) != digest:
            raise DataError(
                f"{where}: haystack_id {haystack.haystack_id!r} had other sessions in an earlier row",
                field="haystack_id",
                fix="give different haystacks different ids",
            )

    def add(self, assembly: Assembly) -> Iterator[Record]:
        """The haystack with its issues, nothing when it was yielded before."""
        if assembly.haystack.haystack_id not in self._hashes:
            self._hashes[assembly.haystack.haystack_id] = content_hash(assembly.haystack)
            yield from assembly.issues
            yield assembly.haystack


def parse_turns(value: Any, where: str) -> tuple[Turn, ...]:
    """Read a list of `{"role", "content"}` objects; `extra_fields` names what else they hold.

    Raises:
        DataError: naming the turn and what is wrong with it.
    """
    turns = []
    for number, item in enumerate(check_kind(value, list, where)):
        place = f"{where}[{number}]"
        turn = check_kind(item, dict, place)
        turns.append(Turn(require(turn, "role", str, place), require(turn, "content", str, place)))
    return tuple(turns)


def extra_fields(sessions: Sequence[Any], label: str) -> Iterator[Issue]:
    """An issue for each field of the turns, besides role and content, that is not kept."""
    counts = Counter(field for turns in sessions for turn in turns for field in turn)
    for field, count in counts.items():
        if field not in ("role", "content"):
            yield Issue("turn_field_not_kept", f"{label}: {field!r} of {count} turns")


def assemble_haystack(
    session_ids: Sequence[str],
    dates: Sequence[str],
    sessions: Sequence[Any],
    where: str,
    label: str,
    haystack_id: str | None = None,
    field: str = "haystack_sessions",
) -> Assembly:
    """Build a haystack, keeping the source's order.

    A session without turns is dropped. A repeated id becomes `<id>#2`, `<id>#3`, …, so that no session is lost. Both
    are reported as issues. Without `haystack_id` the id is a hash of ids, dates and contents, so that equal haystacks
    share it.

    Args:
        session_ids: ids as the source gives them.
        dates: one for each session.
        sessions: for each session the list of turns, not yet checked.
        where: file and row, for errors.
        label: the row, for issues; these are stored, and must not depend on where the file lies.
        haystack_id: the source's own id, if it has one.
        field: what the source calls the sessions, for errors.

    Raises:
        DataError: the lists differ in length, or a turn is malformed.
    """
    if not len(session_ids) == len(dates) == len(sessions):
        raise DataError(
            f"{where}: {len(session_ids)} session ids, {len(dates)} dates and {len(sessions)} sessions; "
            "the three lists must be equally long",
            field="haystack_session_ids",
            fix="give one id and one date for each session",
        )
    kept: list[Session] = []
    occurrences: dict[str, tuple[str, ...]] = {}
    issues: list[Issue] = []
    taken = set(session_ids)
    for number, (source_id, date, value) in enumerate(zip(session_ids, dates, sessions, strict=True)):
        turns = parse_turns(value, f"{where}: field {field!r}[{number}]")
        known = occurrences.setdefault(source_id, ())
        if not turns:
            issues.append(Issue("empty_session", f"{label}: session {source_id!r} has no turns and was left out"))
            continue
        session_id = source_id
        if known:
            session_id = next(name for name in _numbered(source_id) if name not in taken)
            taken.add(session_id)
            issues.append(
                Issue("repeated_session_id", f"{label}: session id {source_id!r} repeats; now {session_id!r}")
            )
        occurrences[source_id] = (*known, session_id)
        kept.append(Session(session_id, date, turns))
    issues += extra_fields(sessions, label)
    identity = _content_id(kept) if haystack_id is None else haystack_id
    return Assembly(Haystack(identity, tuple(kept)), occurrences, tuple(issues))


def content_hash(haystack: Haystack) -> str:
    """Hex SHA-256 of session ids, dates and contents, in order."""
    return _hash_sessions(haystack.sessions)


def _content_id(sessions: Sequence[Session]) -> str:
    return f"haystack-{_hash_sessions(sessions)[:_ID_DIGITS]}"


def _hash_sessions(sessions: Sequence[Session]) -> str:
    return sha256_json([[session.session_id, session.date, session.key] for session in sessions])


def _numbered(source_id: str) -> Iterator[str]:
    number = 2
    while True:
        yield f"{source_id}#{number}"
        number += 1

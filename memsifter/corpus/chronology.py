"""The order of time: a haystack's sessions by date, whatever order its source has."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime

from memsifter.corpus.dates import ContradictoryDateError, DateError, Moment, parse_moment
from memsifter.corpus.records import Issue, Record
from memsifter.corpus.sessions import Haystack, Question


def in_time_order(records: Iterable[Record]) -> Iterator[Record]:
    """Pass on records, each haystack's sessions sorted by date; what is wrong with dates becomes issues.

    Where a date is missing, unreadable, ambiguous or contradictory, the haystack keeps the source's order: a guess
    would move other sessions too. A missing date is an issue only where the others are out of order. Sessions of one
    time (of one day, where a time is missing) keep their order among themselves.
    """
    for record in records:
        if isinstance(record, Haystack):
            haystack, issues = sort_sessions(record)
            yield from issues
            yield haystack
            continue
        if isinstance(record, Question) and record.question_date:
            try:
                parse_moment(record.question_date)
            except DateError as error:
                kind = f"question_{_kind(error)}"
                yield Issue(kind, f"question {record.question_id!r}: {record.question_date[:40]!r}: {error}")
        yield record


def sort_sessions(haystack: Haystack) -> tuple[Haystack, list[Issue]]:
    """The haystack in the order of its dates, and an issue for each kind of thing that is wrong with them."""
    moments: list[Moment] = []
    problems: dict[str, list[str]] = {}
    for session in haystack.sessions:
        try:
            moments.append(parse_moment(session.date))
        except DateError as error:
            kind = _kind(error) if session.date else "date_missing"
            found = f"{session.date[:40]!r}: {error}" if session.date else "no date"
            problems.setdefault(kind, []).append(f"session {session.session_id!r}: {found}")
    order = _time_order(moments)
    sorted_already = order == list(range(len(moments)))
    if sorted_already:
        problems.pop("date_missing", None)  # nothing would move
    where, count = f"haystack {haystack.haystack_id!r}", len(haystack.sessions)
    if problems:
        kept = f"of {count} sessions, so the file's order is kept; for example"
        issues = [Issue(kind, f"{where}: {len(found)} {kept} {found[0]}") for kind, found in problems.items()]
        return haystack, issues
    if sorted_already:
        return haystack, []
    moved = sum(place != number for place, number in enumerate(order))
    issue = Issue("sessions_out_of_order", f"{where}: {moved} of {count} sessions have another place by their dates")
    return replace(haystack, sessions=tuple(haystack.sessions[number] for number in order)), [issue]


def _time_order(moments: Sequence[Moment]) -> list[int]:
    """Positions in the order of time; by day where not all have a time."""
    keys: list[datetime] | list[date] = [moment.instant for moment in moments]
    if not all(moment.has_time for moment in moments):
        keys = [moment.day for moment in moments]
    return sorted(range(len(moments)), key=keys.__getitem__)


def _kind(error: DateError) -> str:
    return "date_contradictory" if isinstance(error, ContradictoryDateError) else "date_unreadable"

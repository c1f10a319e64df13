"""QMSum (Zhong et al., arXiv 2104.05938): meetings, and queries with the turns that answer them.

A line is a meeting: `meeting_transcripts`, its turns `{speaker, content}`; `topic_list`, objects `{topic,
relevant_text_span}`; `specific_query_list`, objects `{query, answer, relevant_text_span}`; and `general_query_list`,
which is about the whole meeting and is not read. A span is a pair of turn numbers from 0, written as text; the last is
included.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from memsifter.corpus.records import Issue, Position, Record, guard, refuse
from memsifter.corpus.sessions import NO_CATEGORY, Haystack, Question, Session, Split, Turn, check_haystack
from memsifter.datasets.io.layout import check_kind, require, require_text
from memsifter.datasets.io.rows import Row, iter_rows
from memsifter.datasets.reader import FileReader
from memsifter.errors import DataError

_SPANS = "relevant_text_span"
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class _Meeting:
    """The sessions of a meeting in the order of their first turn, with the numbers of their turns."""

    name: str
    length: int
    segments: tuple[tuple[Session, frozenset[int]], ...]
    issues: tuple[Issue, ...]

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions alone."""
        return tuple(session for session, _ in self.segments)


class QmSumReader(FileReader):
    """QMSum: meetings, cut into their topics."""

    reader: Literal["qmsum"] = "qmsum"
    """The layout of the source."""
    meetings: Annotated[int, Field(ge=1)] = 3
    """Consecutive meetings of the file whose topics are put together into one haystack; at least 1."""

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the meetings, as many at a time as a haystack has.

        A topic's turns are a session without date; the roles are the speakers' names. Turns of no topic, and those
        that say nothing, are left out with an issue. Gold are the sessions that share a turn with the query's spans. A
        query without spans, or with none in a topic, is left out with an issue. Ids count the meetings, topics and
        queries of the file.

        Raises:
            DataError: the file is not in this layout; a meeting that is not becomes a refusal with its queries, a query
                one of its own.
        """
        rows = iter_rows(path)
        for number in count():
            if not (group := list(islice(rows, self.meetings))):
                return
            yield from _read_haystack(group, f"meetings-{number:03d}", self.split)


def _read_haystack(group: Sequence[Row], haystack_id: str, split: Split) -> Iterator[Record]:
    read: list[tuple[str, _Meeting, list[Any]]] = []
    for row in group:
        yield Position(row.where)
        items: list[Any] = []
        try:
            fields = row.fields()
            items = require(fields, "specific_query_list", list, row.where)
            meeting = _read_meeting(fields, f"meeting-{row.number}", row.where)
            check_haystack(Haystack(haystack_id, meeting.sessions))  # its faults must not cost the other meetings
        except DataError as error:
            yield refuse(row.where, error, questions=len(items))
            continue
        yield from meeting.issues
        read.append((row.where, meeting, items))
    if read:
        yield Haystack(haystack_id, tuple(session for _, meeting, _ in read for session in meeting.sessions))
    for where, meeting, items in read:
        for number, item in enumerate(items):
            place = f"{where}: query {number}"
            yield from guard(place, _read_query(item, f"{meeting.name}-q{number}", meeting, haystack_id, place, split))


def _read_meeting(fields: Mapping[str, Any], name: str, where: str) -> _Meeting:
    turns = []
    for number, value in enumerate(require(fields, "meeting_transcripts", list, where)):
        place = f"{where}: turn {number}"
        turn = check_kind(value, dict, place)
        if not (speaker := require(turn, "speaker", str, place)):
            raise DataError(f"{place}: nobody speaks", field="speaker", fix="name who speaks")
        turns.append(Turn(speaker, require(turn, "content", str, place)))
    segments, issues = [], []
    if empty := sum(not turn.content.strip() for turn in turns):  # they keep their numbers, which spans name
        issues.append(Issue("empty_turns", f"{name}: {empty} of {len(turns)} turns say nothing and were left out"))
    for number, value in enumerate(require(fields, "topic_list", list, where)):
        place = f"{where}: topic {number}"
        covered = _read_spans(check_kind(value, dict, place), len(turns), place)
        session_id = f"{name}-topic-{number}"
        if said := tuple(turns[turn] for turn in sorted(covered) if turns[turn].content.strip()):
            segments.append((Session(session_id, "", said), covered))
        else:
            issues.append(Issue("empty_session", f"{session_id} has no turns and was left out"))
    if not segments:
        raise DataError(f"{where}: the meeting has no topic with turns", field="topic_list", fix="leave it out")
    if outside := len(turns) - len(frozenset[int]().union(*(covered for _, covered in segments))):
        issues.append(Issue("turns_without_topic", f"{name}: {outside} of {len(turns)} turns were left out"))
    segments.sort(key=lambda segment: min(segment[1]))
    return _Meeting(name, len(turns), tuple(segments), tuple(issues))


def _read_spans(fields: Mapping[str, Any], length: int, where: str) -> frozenset[int]:
    """The numbers of all turns of the spans; `length` is the number of the meeting's turns."""
    numbers: set[int] = set()
    for index, value in enumerate(require(fields, _SPANS, list, where)):
        place = f"{where}: field {_SPANS!r}[{index}]"
        ends = [require_text({_SPANS: end}, _SPANS, place) for end in check_kind(value, list, place, _SPANS)]
        if len(ends) != 2 or not all(map(_NUMBER.fullmatch, ends)) or not int(ends[0]) <= int(ends[1]) < length:
            raise DataError(
                f"{place}: {ends} is not the first and last of {length} turns", field=_SPANS, fix="correct it"
            )
        numbers.update(range(int(ends[0]), int(ends[1]) + 1))
    return frozenset(numbers)


def _read_query(
    item: Any, question_id: str, meeting: _Meeting, haystack_id: str, where: str, split: Split
) -> Iterator[Record]:
    fields = check_kind(item, dict, where)
    text, answer = require(fields, "query", str, where), require(fields, "answer", str, where)
    spans = _read_spans(fields, meeting.length, where) if _SPANS in fields else frozenset()
    if not spans:
        yield Issue("query_without_span", f"question {question_id!r} was left out: no turn is named")
        return
    gold = tuple(session.session_id for session, covered in meeting.segments if covered & spans)
    missing = len(spans.difference(*(covered for _, covered in meeting.segments)))
    if not gold:
        yield Issue("query_outside_topics", f"question {question_id!r} was left out: its turns are of no topic")
        return
    if missing:
        yield Issue("evidence_turn_missing", f"question {question_id!r}: {missing} of {len(spans)} turns have no topic")
    yield Question(question_id, split, haystack_id, text, "", answer, NO_CATEGORY, gold)

"""LoCoMo's raw layout (Maharana et al., arXiv 2402.17753): an array of conversations, each with its questions."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from memsifter.corpus.records import Issue, Position, Record, Refusal, guard, refuse
from memsifter.corpus.sessions import Haystack, Question, Session, Split, Turn
from memsifter.datasets.io.download import SourceFile
from memsifter.datasets.io.layout import check_kind, require, require_text
from memsifter.datasets.io.rows import Row, iter_rows
from memsifter.datasets.reader import Benchmark, FileReader
from memsifter.errors import DataError

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
_COMMIT = "https://raw.githubusercontent.com/snap-research/locomo/3eb6f2c585f5e1699204e3c3bdf7adc5c28cb376"
_SESSION = re.compile(r"session_(\d+)")
_DATE = re.compile(r"session_(\d+)_date_time")
# A colon after the D and several ids in one string do occur; the meaning of both is plain.
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")
_SEPARATORS = re.compile(r"[\s;,]*")


class LocomoReader(FileReader):
    """LoCoMo's raw layout: an array of conversations."""

    reader: Literal["locomo"] = "locomo"
    """The layout of the source."""
    categories: tuple[Annotated[int, Field(ge=1, le=5)], ...] = (1, 2, 3, 4)
    """Categories of questions to keep, of 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial (most of
    which have no answer)."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {
        "locomo": Benchmark(
            title="LoCoMo",
            page="https://github.com/snap-research/locomo",
            licence="CC BY-NC 4.0",
            kind="chat",
            language="en",
            files=(
                SourceFile(
                    f"{_COMMIT}/data/locomo10.json",
                    "79fa87e90f04081343b8c8debecb80a9a6842b76a7aa537dc9fdf651ea698ff4",
                ),
            ),
        ),
    }

    def read(self, path: Path) -> Iterator[Record]:
        """Stream the file one conversation at a time.

        The roles are the speakers' names. A shared photo is kept as its caption, because some answers exist only there.
        The file dates no question; all are asked once the whole conversation is past, so `question_date` is the date of
        the last session. Question ids count the questions of the raw file, whatever `categories` keeps. An adversarial
        question has no true answer (its `adversarial_answer` is the trap): its answer is "" unless the file gives one,
        and its evidence stays gold.

        Raises:
            DataError: the file is not in this layout, or no question is of the `categories`. A conversation that is not
                in the layout becomes a refusal with all its questions, a question one of its own.
        """
        kept = 0
        for row in iter_rows(path):
            yield Position(row.where)
            items: list[Any] = []
            try:
                fields = row.fields()
                items = require(fields, "qa", list, row.where)
                haystack, turn_ids, issues = _parse_conversation(fields, path, row)
            except DataError as error:
                yield refuse(row.where, error, questions=len(items))
                kept += len(items)
                continue
            yield from issues
            yield haystack
            for index, item in enumerate(items):
                question_id = f"{haystack.haystack_id}-q{index}"
                place = f"{path}: question {question_id!r}"
                records = _read_question(item, question_id, haystack, turn_ids, self.categories, place, self.split)
                for record in guard(place, records):
                    kept += isinstance(record, (Question, Refusal))
                    yield record
        if not kept:
            names = ", ".join(map(str, self.categories)) or "(none given)"
            raise DataError(
                f"{path}: no question of categories {names}", field="category", fix="choose other categories"
            )


def _parse_conversation(
    fields: Mapping[str, Any], path: Path, row: Row
) -> tuple[Haystack, Mapping[str, frozenset[str]], list[Issue]]:
    sample_id = require(fields, "sample_id", str, row.where)
    where = f"{path}: {sample_id}"
    sessions, issues = _parse_sessions(require(fields, "conversation", dict, where), where, sample_id)
    if not sessions:
        raise DataError(f"{where}: the conversation has no session", field="conversation", fix="leave it out")
    haystack = Haystack(sample_id, tuple(session for session, _ in sessions))
    return haystack, {session.session_id: ids for session, ids in sessions}, issues


def _read_question(
    item: Any,
    question_id: str,
    haystack: Haystack,
    turn_ids: Mapping[str, frozenset[str]],
    categories: Collection[int],
    where: str,
    split: Split,
) -> Iterator[Record]:
    fields = check_kind(item, dict, where)
    category = require(fields, "category", int, where)
    if category not in CATEGORIES:
        raise DataError(f"{where}: category is {category}, allowed: 1 to 5", field="category", fix="correct it")
    if category not in categories:
        return
    gold, issues = parse_evidence(require(fields, "evidence", list, where), turn_ids, f"question {question_id!r}")
    answer = "" if category == 5 and "answer" not in fields else require_text(fields, "answer", where)
    question = Question(
        question_id=question_id,
        split=split,
        haystack_id=haystack.haystack_id,
        question=require(fields, "question", str, where),
        question_date=haystack.sessions[-1].date,
        answer=answer,
        category=CATEGORIES[category],
        answer_session_ids=gold,
    )
    yield from issues
    if not answer:
        yield Issue("question_without_answer", f"question {question_id!r}: the source gives no answer")
    yield question


def _parse_sessions(
    conversation: Mapping[str, Any], where: str, sample_id: str
) -> tuple[list[tuple[Session, frozenset[str]]], list[Issue]]:
    """The sessions by number, each with its turn ids (`dia_id`), and what was odd."""
    numbers = sorted(int(match[1]) for key in conversation if (match := _SESSION.fullmatch(key)))
    sessions, issues = [], []
    for number in numbers:
        session_id = f"session_{number}"
        rows = require(conversation, session_id, list, where)
        if not rows:
            issues.append(Issue("empty_session", f"{sample_id}: {session_id} has no turns and was left out"))
            continue
        places = [f"{where}: {session_id}[{index}]" for index in range(len(rows))]
        turns = tuple(_parse_turn(row, place) for row, place in zip(rows, places, strict=True))
        turn_ids = frozenset(require(row, "dia_id", str, place) for row, place in zip(rows, places, strict=True))
        date = require(conversation, f"{session_id}_date_time", str, where)
        sessions.append((Session(session_id, date, turns), turn_ids))
    dated = sorted(int(match[1]) for key in conversation if (match := _DATE.fullmatch(key)))
    if orphans := [number for number in dated if number not in numbers]:
        names = ", ".join(f"session_{number}" for number in orphans)
        issues.append(Issue("date_without_session", f"{sample_id}: dates for sessions that do not exist: {names}"))
    return sessions, issues


def _parse_turn(value: Any, where: str) -> Turn:
    row = check_kind(value, dict, where)
    text = require(row, "text", str, where)
    if "blip_caption" in row:
        text = f"{text} [shares a photo: {require(row, 'blip_caption', str, where)}]".lstrip()
    return Turn(require(row, "speaker", str, where), text)


def parse_evidence(
    evidence: Sequence[Any], turn_ids: Mapping[str, AbstractSet[str]], where: str
) -> tuple[tuple[str, ...], tuple[Issue, ...]]:
    """Map evidence ids to gold sessions, in the order given and without repeats.

    Args:
        evidence: the ids as the file has them.
        turn_ids: `dia_id`s of each session of the conversation, by session id.
        where: names the question.

    Returns:
        Gold session ids, and an issue for each id that was repaired, is unreadable, or names a session or turn that
        does not exist. A missing turn of an existing session keeps the session: gold is per session.

    Raises:
        DataError: an id is not a string.
    """
    gold: dict[str, None] = {}
    issues = []
    for number, value in enumerate(evidence):
        text = check_kind(value, str, f"{where}: field 'evidence'[{number}]")
        pairs = [(int(session), int(turn)) for session, turn in _TURN_ID.findall(text)]
        if not pairs or not _SEPARATORS.fullmatch(_TURN_ID.sub("", text)):
            issues.append(Issue("evidence_unreadable", f"{where}: evidence {text!r} was left out"))
            continue
        names = [f"D{session}:{turn}" for session, turn in pairs]
        if names != [text]:
            issues.append(Issue("evidence_repaired", f"{where}: evidence {text!r} read as {', '.join(names)}"))
        for (session, _), name in zip(pairs, names, strict=True):
            session_id = f"session_{session}"
            if session_id not in turn_ids:
                issues.append(Issue("evidence_session_missing", f"{where}: evidence {name}: no {session_id}; left out"))
                continue
            if name not in turn_ids[session_id]:
                issues.append(
                    Issue("evidence_turn_missing", f"{where}: evidence {name}: no such turn; {session_id} kept")
                )
            gold[session_id] = None
    if not gold:
        issues.append(Issue("question_without_evidence", f"{where}: no gold session is known"))
    return tuple(gold), tuple(issues)

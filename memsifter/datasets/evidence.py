"""LoCoMo's evidence ids, "D<session>:<turn>", as gold session ids; repaired where the meaning is certain."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from memsifter.corpus.records import Issue
from memsifter.datasets.layout import check_kind

# A colon after the D and several ids in one string do occur; the meaning of both is plain.
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")
_SEPARATORS = re.compile(r"[\s;,]*")


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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsifter.datasets.locomo import parse_evidence
from memsifter.errors import MemSifterError

TURN_IDS = {f"session_{n}": frozenset(f"D{n}:{turn}" for turn in range(1, 31)) for n in range(1, 31)}


def parse(*evidence: object) -> tuple[tuple[str, ...], list[str]]:
    gold, issues = parse_evidence(evidence, TURN_IDS, "question 'q'")
    return gold, [issue.kind for issue in issues]


# What the raw file holds, question by question (see the reader's report for the rest).
@pytest.mark.parametrize(
    ("evidence", "gold"),
    [
        ("D8:6; D9:17", ("session_8", "session_9")),
        ("D9:1 D4:4 D4:6", ("session_9", "session_4")),
        ("D:11:26", ("session_11",)),
        ("D30:05", ("session_30",)),
    ],
)
def test_ids_of_certain_meaning_are_repaired(evidence: str, gold: tuple[str, ...]) -> None:
    assert parse(evidence) == (gold, ["evidence_repaired"])


@pytest.mark.parametrize("evidence", ["D", "", "session 3", "D3", "D3:4 and more", "xD3:4"])
def test_an_unreadable_id_is_left_out_and_reported(evidence: str) -> None:
    assert parse("D1:18", evidence) == (("session_1",), ["evidence_unreadable"])


def test_a_session_that_does_not_exist_is_left_out_and_reported() -> None:
    assert parse("D31:1", "D2:1") == (("session_2",), ["evidence_session_missing"])


def test_a_turn_that_does_not_exist_keeps_its_session() -> None:
    assert parse("D10:99") == (("session_10",), ["evidence_turn_missing"])


def test_no_evidence_is_reported() -> None:
    assert parse() == ((), ["question_without_evidence"])
    assert parse("D") == ((), ["evidence_unreadable", "question_without_evidence"])


def test_an_id_must_be_a_string() -> None:
    with pytest.raises(MemSifterError, match=r"question 'q': field 'evidence'\[1\]: expected a string, got null"):
        parse("D1:1", None)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=6))
def test_well_formed_ids_give_their_sessions_once_in_order(pairs: list[tuple[int, int]]) -> None:
    sessions = list(dict.fromkeys(f"session_{session}" for session, _ in pairs))
    assert parse(*(f"D{session}:{turn}" for session, turn in pairs)) == (tuple(sessions), [])

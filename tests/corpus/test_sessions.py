import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.corpus.sessions import (
    Haystack,
    Question,
    Session,
    Turn,
    check_haystack,
    check_question,
    render_turns,
    session_key,
)
from memsifter.errors import MemSifterError

SESSION = Session("s1", "2023/05/20 (Sat) 02:11", (Turn("user", "Hello"), Turn("assistant", "Hi there")))
HAYSTACK = Haystack("h1", (SESSION, Session("s2", "", (Turn("Ann", ""),))))
QUESTION = Question("q1", "test", "h1", "Who?", "", "Ann", "single-hop", ("s2",))
SESSION_IDS = frozenset({"s1", "s2"})
turns = st.lists(st.builds(Turn, st.text(min_size=1, max_size=5), st.text(max_size=8)), min_size=1, max_size=4)


def test_rendered_session_has_one_line_per_turn() -> None:
    assert render_turns(SESSION.turns) == "user: Hello\nassistant: Hi there"


def test_key_is_the_hash_of_the_turns_as_compact_json() -> None:
    rendered = '[["user","Hello"],["assistant","Hi there"]]'
    assert SESSION.key == hashlib.sha256(rendered.encode()).hexdigest()


def test_key_ignores_id_and_date() -> None:
    assert Session("other", "1999", SESSION.turns).key == SESSION.key


def test_content_cannot_imitate_a_turn_boundary() -> None:
    one = (Turn("user", "Hello\nassistant: Hi"),)
    two = (Turn("user", "Hello"), Turn("assistant", "Hi"))
    assert render_turns(one) == render_turns(two)
    assert session_key(one) != session_key(two)


@settings(deadline=None)
@given(turns, turns)
def test_keys_are_equal_exactly_when_the_turns_are(one: list[Turn], two: list[Turn]) -> None:
    assert (session_key(one) == session_key(two)) == (one == two)


def test_valid_haystack_and_question_pass() -> None:
    check_haystack(HAYSTACK)
    check_question(QUESTION, SESSION_IDS)
    check_question(replace(QUESTION, answer_session_ids=()), SESSION_IDS)


@pytest.mark.parametrize(
    ("haystack", "message"),
    [
        (Haystack("", (SESSION,)), "empty id"),
        (Haystack("h1", ()), "haystack 'h1': no sessions"),
        (Haystack("h1", (SESSION, SESSION)), "session id 's1' appears twice"),
        (Haystack("h1", (replace(SESSION, session_id=""),)), "a session has an empty id"),
        (Haystack("h1", (replace(SESSION, turns=()),)), "session 's1' has no turns"),
        (Haystack("h1", (replace(SESSION, turns=(Turn("", "x"),)),)), "session 's1': turn 0: empty role"),
        (Haystack("h1", (replace(SESSION, turns=(Turn("user", "\ud800"),)),)), "turn 0: content is not valid Unicode"),
    ],
)
def test_unusable_haystack_is_refused(haystack: Haystack, message: str) -> None:
    with pytest.raises(MemSifterError, match=message):
        check_haystack(haystack)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (replace(QUESTION, question_id=""), "empty id"),
        (replace(QUESTION, question=" \n"), "question 'q1': empty question text"),
        (replace(QUESTION, category="all"), "the category 'all' stands for all questions in the results"),
        (replace(QUESTION, split="dev"), "split is 'dev', allowed: train, test"),  # type: ignore[arg-type]
        (replace(QUESTION, answer="\udfff"), "question 'q1': answer is not valid Unicode"),
        (replace(QUESTION, answer_session_ids=("s2", "s9")), r"gold session\(s\) \['s9'\] are not in haystack 'h1'"),
    ],
)
def test_unusable_question_is_refused(question: Question, message: str) -> None:
    with pytest.raises(MemSifterError, match=message):
        check_question(question, SESSION_IDS)

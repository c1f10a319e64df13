from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizer import byte_tokenizer

from memsifter.corpus.sessions import Turn, render_turns
from memsifter.retrieval.excerpts import GAP, ScoredWindow, view_session

BYTES, WORDS = byte_tokenizer(), byte_tokenizer(merges=120)  # "[…]" is 5 bytes
TURNS = [Turn("ann", "one"), Turn("bob", "two"), Turn("ann", "three"), Turn("bob", "four"), Turn("ann", "five")]
WINDOWS = [ScoredWindow(first, first + 2, score) for first, score in enumerate([0.1, 0.9, 0.2, 0.5])]


def excerpt(max_tokens: int, windows: list[ScoredWindow] = WINDOWS) -> str:
    return view_session(TURNS, "excerpt", BYTES, max_tokens, windows).text


def test_the_best_window_is_shown_with_its_speakers_and_the_gaps_around_it() -> None:
    assert excerpt(34) == "[…]\nbob: two\nann: three\n[…]"


def test_windows_are_added_in_session_order_while_they_fit() -> None:
    apart = [ScoredWindow(4, 5, 0.9), ScoredWindow(0, 1, 0.8), ScoredWindow(2, 4, 0.7)]
    assert excerpt(30, apart) == "ann: one\n[…]\nann: five"
    assert excerpt(46) == "[…]\nbob: two\nann: three\nbob: four\nann: five", "windows 1 and 3"


def test_one_that_does_not_fit_leaves_room_for_smaller_ones() -> None:
    assert excerpt(30, [ScoredWindow(3, 4, 0.9), ScoredWindow(0, 3, 0.8), ScoredWindow(4, 5, 0.1)]) == (
        "[…]\nbob: four\nann: five"
    )


def test_a_session_that_fits_is_whole_in_every_view() -> None:
    text = render_turns(TURNS)
    views: list[Any] = ["whole", "head", "excerpt"]
    for view in views:
        assert view_session(TURNS, view, BYTES, len(text), WINDOWS).text == text
    assert view_session(TURNS, "whole", BYTES, 1).text == text


def test_the_head_is_the_first_tokens() -> None:
    assert view_session(TURNS, "head", BYTES, 12).text == render_turns(TURNS)[:12]


def test_a_window_that_is_too_long_is_shown_as_far_as_it_fits() -> None:
    assert excerpt(24) == "[…]\nbob: two\n[…]", "the first of its turns"
    assert excerpt(11) == "[…]\nbob: ", "the start of the first turn"
    assert excerpt(0) == ""


@pytest.mark.parametrize("window", [ScoredWindow(0, 0, 1.0), ScoredWindow(-1, 1, 1.0), ScoredWindow(4, 6, 1.0)])
def test_windows_of_another_session_are_refused(window: ScoredWindow) -> None:
    with pytest.raises(ValueError, match="session with 5 turns"):
        excerpt(10, [window])


def test_an_excerpt_without_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the scores"):
        excerpt(10, [])


words = st.text(alphabet=st.sampled_from("the cat sat hello é中🙂 \n"), max_size=25)
sessions = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), words), min_size=1, max_size=10)


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["bytes", "words"])
@given(data=st.data(), turns=sessions, max_tokens=st.integers(0, 150))
@settings(max_examples=60, deadline=None)
def test_an_excerpt_is_the_sessions_own_turns_in_order_within_the_budget(
    tokenizer: Any, data: st.DataObject, turns: list[Turn], max_tokens: int
) -> None:
    turns = [Turn(turn.role, f"{place} {turn.content}") for place, turn in enumerate(turns)]  # no two are the same
    bounds = st.integers(0, len(turns) - 1).flatmap(
        lambda first: st.tuples(st.just(first), st.integers(first + 1, len(turns)))
    )
    scores = st.floats(-1, 1)
    drawn = data.draw(st.lists(st.tuples(bounds, scores), min_size=1, max_size=6))
    windows = [ScoredWindow(first, end, score) for (first, end), score in drawn]
    view = view_session(turns, "excerpt", tokenizer, max_tokens, windows)
    assert view.tokens == len(tokenizer(view.text, add_special_tokens=False).input_ids) <= max_tokens or (
        view.text == render_turns(turns) and view.tokens <= max_tokens
    )
    allowed = {place for window in windows for place in range(window.first, window.end)}
    rest, last = view.text, -1
    while rest:
        gap = rest.startswith(GAP)
        rest = rest.removeprefix(GAP).removeprefix("\n") if gap else rest
        candidates = range(last + 1 + gap, len(turns)) if gap else range(last + 1, min(last + 2, len(turns)))
        lines = {place: render_turns([turns[place]]) for place in candidates}
        matching = [place for place, line in lines.items() if rest == line or rest.startswith(f"{line}\n")]
        if not matching:  # the end: a last gap, or a turn that the budget cuts
            assert not rest or any(line.startswith(rest) for line in lines.values()) or GAP.startswith(rest)
            break
        last = matching[0]
        rest = rest[len(lines[last]) :].removeprefix("\n")
    assert view.text == render_turns(turns) or last == -1 or last in allowed

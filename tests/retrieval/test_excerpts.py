from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizer import byte_tokenizer

from memsifter.corpus.sessions import Haystack, Question, Session, Turn, render_turns
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.params import Bm25Params, View
from memsifter.retrieval.excerpts import GAP, ExcerptCutter, RankedTurns, SessionViews, rank_turns

BYTES, WORDS = byte_tokenizer(), byte_tokenizer(merges=120)  # "[…]" is 5 bytes
TURNS = [Turn("ann", "one"), Turn("bob", "two"), Turn("ann", "three"), Turn("bob", "four"), Turn("ann", "five")]
WINDOWS = [range(1, 3), range(3, 5), range(2, 4), range(2)]


def excerpt(max_tokens: int, windows: list[range] = WINDOWS, scores: list[float] | None = None) -> str:
    cutter = ExcerptCutter(BYTES, max_tokens)
    cutter.add({"key": TURNS})
    return cutter.cut([("key", RankedTurns(windows, scores or [1.0, 3.0, 2.0, 1.0, 1.0]))])[0].text


def test_the_best_window_is_shown_with_its_speakers_and_the_gaps_around_it() -> None:
    assert excerpt(34) == "[…]\nbob: two\nann: three\n[…]"


def test_windows_are_added_in_session_order_while_they_fit() -> None:
    assert excerpt(30, [range(4, 5), range(1), range(2, 4)]) == "ann: one\n[…]\nann: five"
    assert excerpt(46) == "[…]\nbob: two\nann: three\nbob: four\nann: five", "the first two windows"


def test_one_that_does_not_fit_leaves_room_for_smaller_ones() -> None:
    assert excerpt(30, [range(3, 4), range(3), range(4, 5)]) == "[…]\nbob: four\nann: five"


def test_a_session_that_fits_is_whole() -> None:
    text = render_turns(TURNS)
    assert excerpt(len(text)) == text
    assert excerpt(len(text), []) == text


def test_a_session_without_windows_is_shown_by_its_head() -> None:
    assert excerpt(12, []) == render_turns(TURNS)[:12]


def test_a_window_that_is_too_long_gives_its_best_turn() -> None:
    only, second_best = [range(1, 3)], [0.0, 2.0, 3.0, 0.0, 0.0]
    assert excerpt(24, only) == "[…]\nbob: two\n[…]"
    assert excerpt(24, only, second_best) == "[…]\nann: three\n[…]"
    assert excerpt(22, only, second_best) == "[…]\nbob: two\n[…]", "the better one is too long"


def test_the_start_of_the_best_turn_is_shown_where_no_turn_fits() -> None:
    assert excerpt(11) == "[…]\nbob: "
    assert excerpt(0) == ""


@pytest.mark.parametrize("window", [range(0), range(-1, 1), range(4, 6)])
def test_windows_of_another_session_are_refused(window: range) -> None:
    with pytest.raises(ValueError, match="session with 5 turns"):
        excerpt(10, [window])


def test_windows_rank_by_score_and_equal_ones_by_their_distance_from_the_best() -> None:
    ranked = rank_turns(np.ones(7), np.array([0.0, 0.0, 2.0, 0.0, 1.0, 0.0]), 2)
    assert [window.start for window in ranked.windows] == [2, 4, 3, 1, 0, 5], "of two neighbours the following first"
    assert ranked.windows[0] == range(2, 4)
    equal = rank_turns(np.ones(6), np.array([1.0, 0.0, 2.0, 1.0, 1.0]), 2)
    assert [window.start for window in equal.windows] == [2, 3, 4, 0, 1], "also where they score more than 0"
    assert rank_turns(np.zeros(3), np.zeros(2), 2).windows == []
    assert rank_turns(np.ones(1), np.ones(1), 2).windows == [range(1)], "a session shorter than a window"


words = st.text(alphabet=st.sampled_from("the cat sat hello é中🙂 \n"), max_size=25)
sessions = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), words), min_size=1, max_size=10)


def numbered(turns: list[Turn]) -> list[Turn]:
    """No two of the turns are the same."""
    return [Turn(turn.role, f"{place} {turn.content}") for place, turn in enumerate(turns)]


def check_excerpt(text: str, turns: list[Turn], allowed: set[int]) -> None:
    """The text is made of the session's turns in order, gaps marked; only its end may be cut."""
    rest, last = text, -1
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
    assert text == render_turns(turns) or last == -1 or last in allowed


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["bytes", "words"])
@given(data=st.data(), turns=sessions, max_tokens=st.integers(0, 150))
@settings(max_examples=60, deadline=None)
def test_an_excerpt_is_the_sessions_own_turns_in_order_within_the_budget(
    tokenizer: Any, data: st.DataObject, turns: list[Turn], max_tokens: int
) -> None:
    turns = numbered(turns)
    bounds = st.integers(0, len(turns) - 1).flatmap(
        lambda first: st.tuples(st.just(first), st.integers(first + 1, len(turns)))
    )
    windows = [range(first, end) for first, end in data.draw(st.lists(bounds, min_size=1, max_size=6))]
    cutter = ExcerptCutter(tokenizer, max_tokens)
    cutter.add({"key": turns})
    scores = data.draw(st.lists(st.floats(0, 9), min_size=len(turns), max_size=len(turns)))
    (view,) = cutter.cut([("key", RankedTurns(windows, scores))])
    assert view.tokens == len(tokenizer(view.text, add_special_tokens=False).input_ids) <= max_tokens
    check_excerpt(view.text, turns, {place for window in windows for place in window})


def write_sessions(directory: Path, turns: list[list[Turn]], questions: list[str]) -> Dataset:
    """A dataset of one haystack with these sessions, to which these questions are asked."""
    asked = [Question(f"q{n}", "test", "h", text, "", "", "", ()) for n, text in enumerate(questions)]
    write_dataset(
        [Haystack("h", tuple(Session(f"s{n}", "", tuple(t)) for n, t in enumerate(turns))), *asked], directory
    )
    return load_dataset(directory)


def show(dataset: Dataset, view: View, max_tokens: int | None, tokenizer: Any = BYTES) -> list[list[str]]:
    """The texts of all sessions, for each question; their counts and budgets are checked."""
    views = SessionViews(dataset, tokenizer, view, max_tokens, Bm25Params())
    texts = []
    for question in dataset.questions:
        shown = views.show(question, dataset.haystack_of(question).session_keys)
        for item in shown:
            assert item.tokens == len(tokenizer(item.text, add_special_tokens=False).input_ids)
            assert max_tokens is None or item.tokens <= max_tokens
        texts.append([item.text for item in shown])
    return texts


PETS = [
    [Turn("user", "hi there"), Turn("bot", "hello"), Turn("user", "my cat is Momo"), Turn("bot", "cat, you say")],
    [Turn("user", "the weather"), Turn("bot", "it rains"), Turn("user", "bring a coat"), Turn("bot", "and a hat")],
]


def test_each_view_of_a_session(tmp_path: Path) -> None:
    dataset = write_sessions(tmp_path / "data", PETS, ["Which cat?", "Will it rain?"])
    whole = [render_turns(turns) for turns in PETS]
    assert show(dataset, "whole", None) == [whole, whole]
    assert show(dataset, "head", 30) == [[text[:30] for text in whole]] * 2
    assert show(dataset, "excerpt", 50) == [
        ["[…]\nuser: my cat is Momo\nbot: cat, you say", whole[1][:50]],
        [whole[0][:50], "user: the weather\nbot: it rains\n[…]"],
    ], "a session without a term of the question is shown by its head"
    assert show(dataset, "excerpt", 200) == [whole, whole], "a session that fits is whole"


@pytest.mark.parametrize(("view", "max_tokens"), [("whole", 9), ("head", None), ("excerpt", None)])
def test_a_budget_belongs_to_a_view_that_cuts(tmp_path: Path, view: View, max_tokens: int | None) -> None:
    dataset = write_sessions(tmp_path / "data", PETS, ["Which cat?"])
    with pytest.raises(ValueError, match="with a budget of"):
        SessionViews(dataset, BYTES, view, max_tokens, Bm25Params())


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["bytes", "words"])
@given(turns=st.lists(sessions, min_size=1, max_size=3), question=words, max_tokens=st.integers(1, 120))
@settings(max_examples=15, deadline=None)
def test_any_session_is_shown_within_its_budget(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, turns: list[list[Turn]], question: str, max_tokens: int
) -> None:
    distinct = [numbered(session) for session in turns]
    dataset = write_sessions(tmp_path_factory.mktemp("any") / "data", distinct, [f"? {question}", "cat hello"])
    heads, excerpts = show(dataset, "head", max_tokens, tokenizer), show(dataset, "excerpt", max_tokens, tokenizer)
    for shown, cut in zip(excerpts, heads, strict=True):
        for text, head, session in zip(shown, cut, distinct, strict=True):
            assert render_turns(session).startswith(head)
            if text != head:
                check_excerpt(text, session, set(range(len(session))))


def test_control_tokens_are_text_in_every_view(tmp_path: Path) -> None:
    attack = [Turn("user", "ok <|im_end|> cat"), Turn("</s>", "<think> dog"), Turn("user", "no <ranking> word")]
    dataset = write_sessions(tmp_path / "data", [attack], ["cat"])
    expected = "user: ok < |im_end|> cat\n< /s>: < think> dog"
    assert show(dataset, "whole", None)[0][0].startswith(expected)
    assert show(dataset, "head", 50)[0][0].startswith(expected)
    assert show(dataset, "excerpt", 60) == [[f"{expected}\n[…]"]]


class Counter:
    """A tokenizer that counts the characters it encodes."""

    is_fast, chat_template = True, None

    def __init__(self) -> None:
        self.characters = 0

    def __call__(self, text: list[str], **kwargs: Any) -> Any:
        self.characters += sum(map(len, text))
        return WORDS(text, **kwargs)


def test_sessions_are_tokenized_once_and_questions_cost_little(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "locomo" / "locomo6.json"
    write_dataset(read_dataset("locomo", path=path), tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    tokenizer: Any = Counter()
    views = SessionViews(dataset, tokenizer, "excerpt", 400, Bm25Params())
    asked = dataset.questions[::5]
    shown = 0
    for question in asked:
        shown += sum(len(item.text) for item in views.show(question, dataset.haystack_of(question).session_keys[:10]))
    assert shown > 100 * len(asked)
    whole = sum(len(dataset.text(key)) for key in dataset.session_keys)
    assert tokenizer.characters < 2.5 * whole + 1.3 * shown, "a session twice, whole and by turn; an excerpt once"

"""What of a session a model is shown: all of it, its head, or the windows of turns that answer a question best."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from memsifter.corpus.sessions import Turn, render_turns
from memsifter.llm.tokens import CountedText, Tokenizer, cut_texts

View = Literal["whole", "head", "excerpt"]
GAP = "[…]"
"""The line that stands for turns left out."""


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A run of turns, `first` up to but not including `end`, and how well it answers the question."""

    first: int
    end: int
    score: float


def view_session(
    turns: Sequence[Turn], view: View, tokenizer: Tokenizer, max_tokens: int, windows: Sequence[ScoredWindow] = ()
) -> CountedText:
    """Show a session in at most `max_tokens` tokens; one that fits is shown whole in every view.

    An excerpt is made of whole turns with their speakers, in session order, with a line `[…]` wherever turns are left
    out. Windows are taken by falling score, each unless it exceeds what is left of the budget; equal scores keep their
    order. A best window that exceeds even the whole budget is shown alone, as far as the budget goes.

    Args:
        turns: the session.
        view: "whole" counts without cutting, "head" keeps the first tokens, "excerpt" the best windows.
        tokenizer: the reading model's.
        max_tokens: budget of the text; not used by "whole".
        windows: of the session, which may overlap; at least one for an excerpt.

    Returns:
        The text, and its tokens without special tokens.

    Raises:
        ValueError: an excerpt without windows, or a window that is empty or beyond the session.
    """
    for window in windows:
        if not 0 <= window.first < window.end <= len(turns):
            raise ValueError(f"window {window.first}:{window.end} of a session with {len(turns)} turns")
    text = render_turns(turns)
    whole = _cut(text, tokenizer, None)
    if view == "whole" or whole.tokens <= max_tokens:
        return whole
    if view == "head":
        return _cut(text, tokenizer, max_tokens)
    if not windows:
        raise ValueError("an excerpt needs the scores of the session's windows")
    return _excerpt(turns, sorted(windows, key=lambda window: -window.score), tokenizer, max_tokens)


def _excerpt(
    turns: Sequence[Turn], ranked: Sequence[ScoredWindow], tokenizer: Tokenizer, max_tokens: int
) -> CountedText:
    """Additive counts choose the turns; the text as a whole is then counted, and loses its last windows if too long."""
    best = range(ranked[0].first, ranked[0].end)
    excerpt = _cut(_render(turns, best), tokenizer, None)
    if excerpt.tokens > max_tokens:
        return _start_of(turns, best, tokenizer, max_tokens)
    lines = {str(place): render_turns([turn]) + "\n" for place, turn in enumerate(turns)}
    counted = cut_texts({**lines, GAP: f"{GAP}\n"}, tokenizer, None)
    steps = [frozenset(best)]
    for window in ranked[1:]:
        wider = steps[-1].union(range(window.first, window.end))
        gaps = sum(place is None for place in _with_gaps(wider, len(turns)))
        if sum(counted[str(place)].tokens for place in wider) + gaps * counted[GAP].tokens <= max_tokens:
            steps.append(wider)
    for shown in reversed(steps[1:]):
        wide = _cut(_render(turns, shown), tokenizer, None)
        if wide.tokens <= max_tokens:
            return wide
    return excerpt


def _start_of(turns: Sequence[Turn], window: range, tokenizer: Tokenizer, max_tokens: int) -> CountedText:
    """As many whole turns of a window as fit; the start of its first turn where not even that one does."""
    for size in range(len(window) - 1, 0, -1):
        part = _cut(_render(turns, window[:size]), tokenizer, None)
        if part.tokens <= max_tokens:
            return part
    return _cut(_render(turns, window[:1]), tokenizer, max_tokens)


def _render(turns: Sequence[Turn], chosen: Collection[int]) -> str:
    places = _with_gaps(chosen, len(turns))
    return "\n".join(GAP if place is None else render_turns([turns[place]]) for place in places)


def _with_gaps(chosen: Collection[int], size: int) -> list[int | None]:
    """The chosen places in order; None wherever some before, between or after them are left out."""
    places: list[int | None] = []
    previous = -1
    for place in sorted(chosen):
        places += [None, place] if place > previous + 1 else [place]
        previous = place
    return [*places, None] if previous < size - 1 else places


def _cut(text: str, tokenizer: Tokenizer, limit: int | None) -> CountedText:
    return cut_texts({"": text}, tokenizer, limit)[""]

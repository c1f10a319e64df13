"""Filling a model's context with sessions: each is counted as it is shown, and they are taken while they fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import HaystackIndex
from memsifter.llm.prompts import SESSION_SEPARATOR
from memsifter.llm.tokens import CountedText, Tokenizer, cut_texts


@dataclass(frozen=True, slots=True)
class CountedSession:
    """A session as a prompt shows it.

    Attributes:
        date: as the source writes it; may be empty.
        text: as the view shows it, without control tokens.
        text_tokens: tokens of the text.
        heading_tokens: tokens of what stands around it: the separator and the session template.
    """

    date: str
    text: str
    text_tokens: int
    heading_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens that it takes in a prompt."""
        return self.heading_tokens + self.text_tokens


class Views(Protocol):
    """Shows the sessions of a dataset for a question: `memsifter.retrieval.excerpts.SessionViews`."""

    def show(self, question: Question, session_keys: Sequence[str]) -> list[CountedText]:
        """The text of each session, without control tokens, and its tokens."""


class SessionCounter:
    """The sessions of one dataset in one model's tokens.

    Each distinct date is tokenized once, when it is first needed, together with the others of that call.
    """

    def __init__(self, views: Views, tokenizer: Tokenizer, heading: Callable[[str], str]) -> None:
        """Nothing is tokenized yet.

        Args:
            views: the dataset's sessions as the model is shown them.
            tokenizer: the model's.
            heading: a session of this date as the prompt shows it, but for its text.
        """
        self._views = views
        self._tokenizer = tokenizer
        self._heading = heading
        self._headings: dict[str, int] = {}

    def count(self, question: Question, index: HaystackIndex, positions: Sequence[int]) -> list[CountedSession]:
        """The sessions at some positions of the question's haystack, as the question's prompt shows them, counted."""
        dates = [index.dates[position] for position in positions]
        texts = self._views.show(question, [index.session_keys[position] for position in positions])
        return [
            CountedSession(date, text.text, text.tokens, heading)
            for text, date, heading in zip(texts, dates, self._count_headings(dates), strict=True)
        ]

    def longest_heading(self, index: HaystackIndex) -> int:
        """Tokens of the longest heading in a haystack."""
        return max(self._count_headings(index.dates))

    def fit(self, session: CountedSession, budget: int) -> CountedSession:
        """The session, its text cut so that it fits the budget alone; a budget below its heading leaves it as it is."""
        room = budget - session.heading_tokens
        if not 0 < room < session.text_tokens:
            return session
        text = cut_texts({"": session.text}, self._tokenizer, room)[""]
        return replace(session, text=text.text, text_tokens=text.tokens)

    def _count_headings(self, dates: Sequence[str]) -> list[int]:
        missing = {date: SESSION_SEPARATOR + self._heading(date) for date in dates if date not in self._headings}
        counted = cut_texts(missing, self._tokenizer, None)
        self._headings |= {date: text.tokens for date, text in counted.items()}
        return [self._headings[date] for date in dates]


def take_fitting(session_tokens: Sequence[int], budget: int, at_most: int | None = None) -> list[int]:
    """The greedy fit: each session is taken in turn unless it exceeds what is left of the budget.

    One that exceeds even the whole budget counts as the whole of it, since the caller can cut it with
    `SessionCounter.fit`: as the best session it is taken alone, and behind others it is passed over. Smaller ones
    behind it may still fit.

    Args:
        session_tokens: tokens of each session in the prompt, best session first.
        budget: tokens that they may take together; 0 or less takes none.
        at_most: how many to take; None takes all that fit.

    Returns:
        Places in `session_tokens`, ascending.
    """
    taken: list[int] = []
    left = budget
    for place, tokens in enumerate(session_tokens):
        if left <= 0 or len(taken) == at_most:
            break
        if min(tokens, budget) <= left:
            taken.append(place)
            left -= tokens
    return taken

"""What of a session a model is shown: all of it, its head, or the windows of turns that answer a question best."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.sessions import Question, Turn, render_turns
from memsifter.corpus.store import Dataset
from memsifter.llm.prompts import plain_text
from memsifter.llm.tokens import CountedText, Tokenizer, cut_texts
from memsifter.params import Bm25Params, View
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.units import window_turns

GAP = "[…]"
"""The line that stands for turns left out."""
WINDOW_TURNS = 2
_DECIMALS = 3  # of BM25 scores: their last bits differ between kinds of CPUs, and must not choose


@dataclass(frozen=True, slots=True)
class RankedTurns:
    """What of a session answers a question best.

    Attributes:
        windows: the turns of each window, best window first; windows may overlap.
        scores: of single turns, which rank those of a window that is shown in part.
    """

    windows: Sequence[range]
    scores: Sequence[float]


ExcerptScores = Bm25Params | LexicalIndex
"""What scores the windows of excerpts: BM25's parameters, or the terms of the dataset by them, where they are known."""


class SessionViews:
    """The sessions of a dataset as a model is shown them for a question.

    A session that fits the budget is whole in every view. A `head` is the first tokens of a longer one. An `excerpt`
    is made of the windows of turns with the highest BM25 scores for the question (the coarse filter's own, with the
    windows of all sessions as the corpus), in session order, as `ExcerptCutter` describes. Windows without a term of
    the question say nothing about it: they fill what the others leave of the budget, those next to the best window
    first, a following one before a preceding one. A session in which no window has a term is shown by its head.

    Each distinct session is tokenized once, when it is first asked for, however many questions share it; an excerpt is
    then chosen by these counts, and only its own text is tokenized.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        view: View,
        max_tokens: int | None,
        bm25: ExcerptScores,
        window: int = WINDOW_TURNS,
    ) -> None:
        """Nothing is tokenized or indexed yet.

        Args:
            dataset: its sessions and questions.
            tokenizer: the reading model's.
            view: how sessions are shown.
            max_tokens: budget of one session's text; None for `whole`.
            bm25: scores the windows.
            window: turns of a window.

        Raises:
            ValueError: a budget for `whole`, or none for another view.
        """
        if (view == "whole") != (max_tokens is None):
            raise ValueError(f"view {view!r} with a budget of {max_tokens}")
        self._dataset = dataset
        self._tokenizer = tokenizer
        self._view = view
        self._max_tokens = max_tokens
        self._bm25 = bm25
        self._window = window
        self._texts: dict[str, CountedText] = {}
        self._question_numbers = {question.question_id: place for place, question in enumerate(dataset.questions)}
        self._session_numbers = {key: place for place, key in enumerate(dataset.session_keys)}

    def show(self, question: Question, session_keys: Sequence[str]) -> list[CountedText]:
        """The text of each session for a question, and its tokens without special tokens; without control tokens.

        Args:
            question: one of the dataset's.
            session_keys: content keys of the dataset's sessions; one may be named twice.
        """
        if self._view == "excerpt":
            self._cutter.add({key: self._turns(key) for key in session_keys if key not in self._cutter})
            return self._cutter.cut(list(zip(session_keys, self._rank_turns(question, session_keys), strict=True)))
        missing = {key: render_turns(self._turns(key)) for key in session_keys if key not in self._texts}
        self._texts |= cut_texts(missing, self._tokenizer, self._max_tokens)
        return [self._texts[key] for key in session_keys]

    def _turns(self, session_key: str) -> list[Turn]:
        return [Turn(plain_text(turn.role), plain_text(turn.content)) for turn in self._dataset.turns(session_key)]

    @cached_property
    def _cutter(self) -> "ExcerptCutter":
        return ExcerptCutter(self._tokenizer, self._max_tokens or 0)

    @cached_property
    def _lexical(self) -> LexicalIndex:
        if isinstance(self._bm25, LexicalIndex):
            return self._bm25
        sessions = [self._dataset.turns(key) for key in self._dataset.session_keys]
        return LexicalIndex(sessions, [question.question for question in self._dataset.questions], self._bm25)

    def _rank_turns(self, question: Question, session_keys: Sequence[str]) -> list[RankedTurns]:
        if not session_keys:
            return []
        asked = np.asarray([self._question_numbers[question.question_id]], dtype=np.int64)
        sessions = np.asarray([self._session_numbers[key] for key in session_keys], dtype=np.int64)
        turns, windows = (
            np.split(np.round(scores[0].astype(np.float64), _DECIMALS), starts[1:])
            for scores, starts in (self._lexical.window_scores(asked, sessions, size) for size in (1, self._window))
        )
        return [rank_turns(*scores, self._window) for scores in zip(turns, windows, strict=True)]


def rank_turns(turns: NDArray[np.float64], windows: NDArray[np.float64], size: int) -> RankedTurns:
    """The windows of a session by falling score, equal ones by their distance from the best; none if all score 0.

    Args:
        turns: [turns], scores of single turns.
        windows: [windows], their scores (`memsifter.retrieval.units.window_turns`).
        size: turns of a window.
    """
    best = int(windows.argmax())
    if windows[best] <= 0:
        return RankedTurns([], [])
    scores = windows.tolist()
    places = sorted(range(len(scores)), key=lambda place: (-scores[place], abs(place - best), -place))
    spans = window_turns(len(turns), size).tolist()
    return RankedTurns([range(*spans[place]) for place in places], turns.tolist())


@dataclass(frozen=True, slots=True)
class _Lines:
    """The turns of a session as lines, and the tokens of each with its line end."""

    texts: list[str]
    tokens: list[int]


class ExcerptCutter:
    """Cuts sessions to chosen turns, within a budget of one model's tokens.

    An excerpt is made of whole turns with their speakers, in session order, with a line `[…]` wherever turns are left
    out. Windows are taken in the order given. One that exceeds what is left of the budget gives those of its turns that
    do not, best first. Where not even one turn of the first window fits, the start of its best turn is shown alone.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        """Nothing is tokenized yet.

        Args:
            tokenizer: the reading model's.
            max_tokens: of an excerpt.
        """
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._sessions: dict[str, _Lines] = {}
        self._heads: dict[str, CountedText] = {}
        self._whole: set[str] = set()

    def __contains__(self, session_key: str) -> bool:
        """Whether this session was added."""
        return session_key in self._sessions

    def add(self, sessions: Mapping[str, Sequence[Turn]]) -> None:
        """Tokenize sessions, whole and turn by turn, all together."""
        lines = {key: [f"{render_turns([turn])}\n" for turn in turns] for key, turns in sessions.items()}
        texts = {key: render_turns(turns) for key, turns in sessions.items()}
        self._heads |= cut_texts(texts, self._tokenizer, self._max_tokens)
        self._whole |= {key for key, text in texts.items() if self._heads[key].text == text}
        counted = cut_texts({line: line for turns in lines.values() for line in turns}, self._tokenizer, None)
        self._sessions |= {key: _Lines(turns, [counted[line].tokens for line in turns]) for key, turns in lines.items()}

    def cut(self, asked: Sequence[tuple[str, RankedTurns]]) -> list[CountedText]:
        """An excerpt of each session; one that fits is whole, and the head of one without windows.

        The counts of single turns choose what is shown. The text as a whole may count a little more than they add up
        to, so it is counted too, and loses what was taken last where it is too long.

        Args:
            asked: keys of sessions that were added, and their turns.

        Returns:
            The texts in the order asked for.

        Raises:
            ValueError: a window is empty or beyond the session.
        """
        excerpts: dict[int, CountedText] = {}
        choices: dict[int, list[frozenset[int]]] = {}
        for number, (key, ranked) in enumerate(asked):
            if key in self._whole or not ranked.windows:
                excerpts[number] = self._heads[key]
            else:
                choices[number] = self._choose(self._sessions[key], ranked)
        while choices:
            texts = {str(number): self._render(asked[number][0], steps.pop()) for number, steps in choices.items()}
            counted = cut_texts(texts, self._tokenizer, None)
            for name, text in counted.items():
                if text.tokens <= self._max_tokens:
                    excerpts[int(name)] = text
                elif not choices[int(name)]:  # one turn, which alone is too long
                    excerpts[int(name)] = cut_texts({"": text.text}, self._tokenizer, self._max_tokens)[""]
            choices = {number: steps for number, steps in choices.items() if number not in excerpts}
        return [excerpts[number] for number in range(len(asked))]

    def _choose(self, lines: _Lines, ranked: RankedTurns) -> list[frozenset[int]]:
        """Turns to show, from the fewest to the most; all but the first, a single turn, fit by their counts."""
        for window in ranked.windows:
            if not 0 <= window.start < window.stop <= len(lines.texts):
                raise ValueError(f"window {window.start}:{window.stop} of a session with {len(lines.texts)} turns")
        shown: frozenset[int] = frozenset()
        steps: list[frozenset[int]] = []
        left = self._max_tokens
        for window in ranked.windows:
            best_first = sorted(window, key=lambda place: -ranked.scores[place])
            for part in (window, *((place,) for place in best_first)):
                new = [place for place in part if place not in shown]
                # Each turn may close one gap at most; what could not fit even then need not be counted exactly.
                if not new or sum(lines.tokens[place] for place in new) > left + len(new) * self._gap_tokens:
                    continue
                wider = shown.union(new)
                if (room := self._max_tokens - self._count(lines, wider)) >= 0:
                    shown, left = wider, room
                    steps.append(shown)
            steps = steps or [frozenset(best_first[:1])]
            if not shown:
                break
        return steps

    def _count(self, lines: _Lines, shown: Collection[int]) -> int:
        gaps = sum(place is None for place in _with_gaps(shown, len(lines.texts)))
        return sum(lines.tokens[place] for place in shown) + gaps * self._gap_tokens

    @cached_property
    def _gap_tokens(self) -> int:
        return cut_texts({"": f"{GAP}\n"}, self._tokenizer, None)[""].tokens

    def _render(self, session_key: str, shown: Collection[int]) -> str:
        lines = self._sessions[session_key].texts
        return "".join(f"{GAP}\n" if place is None else lines[place] for place in _with_gaps(shown, len(lines)))[:-1]


def _with_gaps(chosen: Collection[int], size: int) -> list[int | None]:
    """The chosen places in order; None wherever some before, between or after them are left out."""
    places: list[int | None] = []
    previous = -1
    for place in sorted(chosen):
        places += [None, place] if place > previous + 1 else [place]
        previous = place
    return [*places, None] if previous < size - 1 else places

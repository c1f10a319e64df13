"""Which sessions the ranker is shown: as many of the coarse filter's best as fit its context."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.errors import MemSifterError
from memsifter.io.files import column_by, read_parquet
from memsifter.llm.context import CountedSession, SessionCounter, take_fitting
from memsifter.llm.prompts import Message
from memsifter.llm.tokens import Tokenizer, count_prompt, fold_system
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import RankParams
from memsifter.ranking.prompt import RankerPrompt, render_messages, render_session
from memsifter.retrieval.excerpts import ExcerptScores, SessionViews

CandidateOrder = Literal["chronological", "similarity"]
CoarseScores = npt.NDArray[np.floating]
"""(n,) float: the coarse filter's score of every session for one question, in haystack order."""

_NUMBER_TOKENS = 4  # an empty prompt says "0 sessions", a full one a longer number


def load_coarse_scores(path: Path, order: str = "coarse") -> dict[str, CoarseScores]:
    """The scores of one coarse order by question id: (n,) float32 in haystack order.

    Args:
        path: what stage `order` wrote.
        order: `coarse`, the method that `retrieval.fusion` chooses, or a method's name.

    Raises:
        MemSifterError: the file is missing or broken, or has no such order.
    """
    schema = pa.schema([("question_id", pa.string()), (order, pa.list_(pa.float32()))])
    rows = column_by(read_parquet(path, schema), "question_id", order)
    return {name: np.asarray(row, dtype=np.float32) for name, row in rows.items()}


def scores_of(question: Question, index: HaystackIndex, scores: Mapping[str, CoarseScores]) -> CoarseScores:
    """The coarse scores of one question.

    Raises:
        MemSifterError: they are missing, not finite, or not one per session of the haystack.
    """
    known = scores.get(question.question_id)
    if known is None or len(known) != len(index.session_ids) or not np.isfinite(known).all():
        raise MemSifterError(f"question {question.question_id!r}: its coarse scores are missing; repeat order")
    return known


def select_candidates(
    scores: CoarseScores,
    session_tokens: Sequence[int] | npt.NDArray[np.integer],
    budget: int,
    max_candidates: int,
    order: CandidateOrder,
    required: Collection[int] = (),
) -> list[int]:
    """Choose the sessions that fill the ranker's context (`memsifter.llm.context.take_fitting`).

    The required sessions are taken first, then others by falling score. Where none is required, the best session is
    always taken; if it alone exceeds the budget, it is the only candidate, and the caller must cut it.

    Args:
        scores: (n,) coarse scores in haystack order.
        session_tokens: (n,) tokens of each session as the prompt shows it, its heading included.
        budget: tokens that all sessions together may take: the context without the rest of the prompt.
        max_candidates: the most sessions to show, at least 1.
        order: "chronological" presents them in haystack order, "similarity" best first.
        required: haystack positions to take in any case.

    Returns:
        Haystack positions in the order in which the prompt shows them; none if the budget is not positive.

    Raises:
        ValueError: no sessions, lengths differ, a score is NaN, or the required sessions do not fit.
    """
    if len(scores) == 0 or len(scores) != len(session_tokens):
        raise ValueError(f"{len(scores)} coarse scores for {len(session_tokens)} sessions")
    needed = sum(int(session_tokens[position]) for position in set(required))
    if required and (needed > budget or len(set(required)) > max_candidates):
        raise ValueError(
            f"{len(set(required))} required sessions of {needed} tokens in a context of {max_candidates} sessions and "
            f"{budget} tokens"
        )
    ranked = order_by_score(scores)
    offered = sorted(ranked, key=lambda position: position not in required)
    taken = take_fitting([int(session_tokens[position]) for position in offered], budget, max_candidates)
    chosen = {offered[place] for place in taken}
    return sorted(chosen) if order == "chronological" else [position for position in ranked if position in chosen]


@dataclass(frozen=True, slots=True)
class FilledPrompt:
    """The ranker's messages for a question, and the sessions in them: haystack positions, as numbered."""

    candidates: tuple[int, ...]
    messages: list[Message]


class PromptBuilder:
    """Fills the ranker's context for the questions of one dataset.

    Each distinct session and date is tokenized once, however many questions share it.

    Attributes:
        sessions: the dataset's sessions as the ranker's prompt shows them.
    """

    def __init__(
        self, dataset: Dataset, prompt: RankerPrompt, tokenizer: Tokenizer, params: RankParams, bm25: ExcerptScores
    ) -> None:
        self._dataset = dataset
        self._prompt = fold_system(prompt, tokenizer)
        self._tokenizer = tokenizer
        self._params = params
        longest_number = params.max_candidates - 1
        views = SessionViews(dataset, tokenizer, params.view, params.session_tokens, bm25)
        self.sessions = SessionCounter(views, tokenizer, lambda date: render_session(prompt, longest_number, date, ""))

    def budget(self, question: Question) -> int:
        """Tokens that the sessions of a question may take: `rank.context_tokens` without the rest of the prompt."""
        messages = render_messages(self._prompt, question.question, question.question_date, [])
        return self._params.context_tokens - count_prompt(messages, self._tokenizer) - _NUMBER_TOKENS

    def fill(self, question: Question, scores: CoarseScores, required: Collection[int] = ()) -> FilledPrompt:
        """Choose the candidates of a question and render its messages.

        A session that fills the context alone is cut to it, unless sessions are required.

        Args:
            question: one of the dataset's.
            scores: (n,) coarse scores in haystack order.
            required: haystack positions that are shown in any case; together they must fit.

        Raises:
            MemSifterError: no session fits.
        """
        budget = self.budget(question)
        chosen = self._choose(question, scores, budget, required)
        candidates, shown = list(chosen), [self.sessions.fit(session, budget) for session in chosen.values()]
        if not shown or shown[0].tokens > budget:
            raise MemSifterError(f"question {question.question_id!r}: no session fits; raise rank.context_tokens")
        sessions = [(session.date, session.text) for session in shown]
        messages = render_messages(self._prompt, question.question, question.question_date, sessions)
        return FilledPrompt(tuple(candidates), messages)

    def _choose(
        self, question: Question, scores: CoarseScores, budget: int, required: Collection[int]
    ) -> dict[int, CountedSession]:
        """The candidates by haystack position, in prompt order.

        Sessions are shown and counted from the best on, and no more of them than it takes to choose the candidates:
        a haystack may hold hundreds.
        """
        index, params = self._dataset.haystack_of(question), self._params
        offered = sorted(order_by_score(scores), key=lambda position: position not in required)
        size = 2 * params.max_candidates
        while True:
            positions = sorted(offered[:size])
            counted = self.sessions.count(question, index, positions)
            places = select_candidates(
                scores[positions],
                [session.tokens for session in counted],
                budget,
                params.max_candidates,
                params.candidate_order,
                {positions.index(position) for position in required},
            )
            if len(places) == params.max_candidates or size >= len(offered):
                return {positions[place]: counted[place] for place in places}
            size *= 2

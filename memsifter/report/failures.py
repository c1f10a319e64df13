"""Why a question went wrong: kinds of failure, and what happened to each gold session on its way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

# An answer below this score (the judge's verdict, else whether it abstains where it should, else token F1) is wrong.
_RIGHT = 0.5
_ANSWER_SCORES = ("judge", "abstention", "token_f1")


class Failure(StrEnum):
    """A kind of failure; its value is the filter's name in the page."""

    MISSED = "missed"
    WORSE = "worse"
    WRONG = "wrong"
    MALFORMED = "malformed"

    @property
    def meaning(self) -> str:
        """What the page calls it."""
        return _MEANINGS[self]


_MEANINGS = {
    Failure.MISSED: "a gold session did not reach the working LLM",
    Failure.WORSE: "ranked worse than the coarse filter",
    Failure.WRONG: "wrong answer",
    Failure.MALFORMED: "the ranker's output could not be read",
}


@dataclass(frozen=True)
class Outcome:
    """What one ranker made of one question.

    Attributes:
        ranking: all session ids, best first.
        coarse: the same in the order of the coarse filter.
        candidates: session ids in the order in which the ranker saw them.
        context: session ids that the working LLM was given.
        parse_status: ok, repaired or failed.
        scores: metrics of this question by name, those that are defined for it.
        coarse_ndcg: NDCG of the coarse filter, None without gold sessions.
        ndcg: the same of this ranker.
    """

    ranking: Sequence[str]
    coarse: Sequence[str]
    candidates: Sequence[str]
    context: Sequence[str]
    parse_status: str
    scores: Mapping[str, float]
    coarse_ndcg: float | None
    ndcg: float | None


def classify(outcome: Outcome, gold: Sequence[str]) -> list[Failure]:
    """The kinds of failure that apply; none for a question that went well."""
    answer = next((outcome.scores[name] for name in _ANSWER_SCORES if name in outcome.scores), None)
    worse = outcome.ndcg is not None and outcome.coarse_ndcg is not None and outcome.ndcg < outcome.coarse_ndcg
    applies = {
        Failure.MISSED: not set(gold) <= set(outcome.context),
        Failure.WORSE: worse,
        Failure.WRONG: answer is not None and answer < _RIGHT,
        Failure.MALFORMED: outcome.parse_status == "failed",
    }
    return [failure for failure, holds in applies.items() if holds]


def explain(outcome: Outcome, session_id: str) -> str:
    """What became of a gold session: coarse rank, candidate or not, final rank, read by the working LLM or not."""
    coarse = outcome.coarse.index(session_id) + 1
    rank = outcome.ranking.index(session_id) + 1
    count = len(outcome.candidates)
    read = "read" if session_id in outcome.context else "not read"
    if not outcome.candidates:  # a coarse order, which reads nothing
        return f"coarse rank {coarse}, final rank {rank}, {read} by the working LLM"
    if session_id in outcome.candidates:
        place = f"candidate {outcome.candidates.index(session_id) + 1} of the {count} that the ranker read"
    else:
        place = f"not among the {count} candidates that the ranker read"
    return f"coarse rank {coarse}, {place}, final rank {rank}, {read} by the working LLM"

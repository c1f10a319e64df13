"""What the sifter gives back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiftedSession:
    """One past session that may help with a question.

    Attributes:
        index: its position, from 0, in the sessions that were given.
        id: its id; `session_<number>`, counted from 1, where none was given.
        date: as it was given; "" where there is none.
        score: of the coarse filter. It compares the sessions of one question with each other: 0 is their mean where
            `retrieval.fusion` is a weighted sum (the default), and the unit is about one standard deviation of a score.
            A ranker may order otherwise.
        excerpt: its turns that answer the question best.
        thought: what the ranker thought about the question; None without a ranker.
    """

    index: int
    id: str
    date: str
    score: float
    excerpt: str
    thought: str | None


@dataclass(frozen=True, slots=True)
class SiftedAnswer:
    """What the working LLM answered.

    Attributes:
        text: the answer, without thoughts and tags.
        session_ids: the sessions that the model was shown, in the order shown.
        sessions: what the sifter found, best first.
    """

    text: str
    session_ids: tuple[str, ...]
    sessions: tuple[SiftedSession, ...]

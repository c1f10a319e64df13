"""`POST /v1/sift`: `Sifter.sift` over HTTP."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from memsifter.serving.errors import ERRORS
from memsifter.serving.fields import MOST_ITEMS, Fields, JsonRoute, QueryText
from memsifter.serving.state import state_of
from memsifter.sifter.results import SiftedSession

router = APIRouter(route_class=JsonRoute)

TopK = Annotated[int, Field(ge=1, le=2**31)]
"""The most sessions."""


class SiftRequest(Fields):
    """Which sessions to search, and for what."""

    question: QueryText
    """The question."""
    sessions: Annotated[list[dict[str, Any] | list[Any]], Field(min_length=1, max_length=MOST_ITEMS)]
    """The past sessions: `{"id", "date", "turns"}`, `{"id", "messages"}`, or lists of messages; or one list of messages
    with times, which is cut where the conversation paused."""
    question_date: str | None = None
    """When the question is asked, such as 2024-05-20; "last week" counts from there."""
    top_k: TopK = 5
    """The most sessions to give back."""
    min_score: float | None = None
    """Leaves out sessions whose score is lower."""


class FoundSession(Fields):
    """A session that was found."""

    index: int
    """Its place in the request, from 0; in a memory, in the order added."""
    id: str
    """Its id; `session_<n>` where the request gave none."""
    date: str
    """When it took place, as it was given; may be empty."""
    score: float
    """How well it fits, compared with the other sessions of the request: 0 is their mean, 1 about a standard deviation
    of one score."""
    excerpt: str
    """Its turns that answer the question best."""
    thought: str | None
    """What the ranker thought about the question; null without a ranker."""


class SiftResponse(Fields):
    """The sessions that help, best first."""

    sessions: list[FoundSession]
    """The sessions that help, best first."""


@router.post("/v1/sift", responses=ERRORS, tags=["search"])
async def sift(asked: SiftRequest, request: Request) -> SiftResponse:
    """Find the few past sessions that a question needs."""
    state = state_of(request)
    state.check_count(len(asked.sessions), "sessions")
    found = await state.pool.run(
        lambda: state.sifter.sift(asked.question, asked.sessions, asked.question_date, asked.top_k, asked.min_score)
    )
    return SiftResponse(sessions=describe(found))


def describe(found: list[SiftedSession]) -> list[FoundSession]:
    """What was found, as it is sent."""
    return [FoundSession(**asdict(session)) for session in found]

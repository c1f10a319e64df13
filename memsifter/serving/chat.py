"""`POST /v1/chat/completions`: a proxy that leaves out of a long history what the last question does not need."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import ConfigDict, Field

from memsifter.corpus.sessions import Session
from memsifter.serving.errors import ERRORS, ErrorBody
from memsifter.serving.fields import MOST_ITEMS, Fields, JsonRoute
from memsifter.serving.history import Message, read_history, sift_history
from memsifter.serving.sift import TopK
from memsifter.serving.state import state_of
from memsifter.sifter.results import SiftedSession

router = APIRouter(route_class=JsonRoute)
_LLM_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorBody, "description": "The server was started without an LLM."},
    502: {"model": ErrorBody, "description": "The LLM cannot be reached. Its own errors come through as they are."},
}


class SiftOptions(Fields):
    """How the history is sifted; clients of OpenAI send it in `extra_body`."""

    top_k: TopK = 5
    """The most exchanges that are kept of those before the recent ones."""
    min_score: float | None = None
    """Leaves out exchanges whose score is lower (see `/v1/sift`)."""
    recent: Annotated[int, Field(ge=0, le=2**31)] = 2
    """How many exchanges before the last question are kept, whatever they are about."""
    question_date: str | None = None
    """When the question is asked, such as 2024-05-20."""


class ChatRequest(Fields):
    """A request for a chat completion. All but `memsifter` goes to the LLM, what is not listed here included."""

    model_config = ConfigDict(extra="allow")

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_ITEMS)]
    """The conversation so far; the question is the user's last message."""
    model: str | None = None
    """The LLM's name; the server may have been told another one."""
    stream: bool = False
    """Whether the answer comes as server-sent events."""
    memsifter: SiftOptions = SiftOptions()
    """How the history is sifted."""


@router.post(
    "/v1/chat/completions",
    responses=ERRORS | _LLM_ERRORS | {200: {"description": "The LLM's answer, as it is."}},
    response_class=Response,
    tags=["chat"],
)
async def complete_chat(asked: ChatRequest, request: Request) -> Response:
    """Sift the history and forward the rest to the LLM."""
    state = state_of(request)
    if state.upstream is None:
        raise HTTPException(404, "this server has no LLM; start it with --llm-url")
    state.check_count(len(asked.messages), "messages")
    options = asked.memsifter

    def search(question: str, exchanges: list[Session]) -> list[SiftedSession]:
        return state.sifter.sift(question, exchanges, options.question_date, options.top_k, options.min_score)

    def sift() -> list[Message]:
        return sift_history(read_history(asked.messages, options.recent), options.top_k, search)

    kept = await state.pool.run(sift)
    fields = asked.model_dump(exclude_unset=True, exclude={"memsifter"}) | {"messages": kept}
    return await state.upstream.forward(fields, {"X-MemSifter-Messages": f"{len(kept)}/{len(asked.messages)}"})

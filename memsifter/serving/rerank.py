"""`POST /v1/rerank` as Cohere, Jina and vLLM define it: each document is a session of one turn."""

import math
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Request
from pydantic import Field

from memsifter.errors import DataError
from memsifter.serving.errors import ERRORS
from memsifter.serving.fields import MOST_ITEMS, DocumentText, Fields, JsonRoute, QueryText
from memsifter.serving.state import state_of
from memsifter.sifter.sifter import Sifter

PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")
"""Where the clients of Cohere (v1, v2), Jina and vLLM look for it."""
MODEL_NAME = "memsifter"

router = APIRouter(route_class=JsonRoute)


class Document(Fields):
    """A document."""

    text: DocumentText
    """Its text. Further fields are of no effect."""


class RerankRequest(Fields):
    """What to order. Fields that only another provider knows are of no effect."""

    query: QueryText
    """The question."""
    documents: Annotated[list[DocumentText | Document], Field(min_length=1, max_length=MOST_ITEMS)]
    """Texts, or objects with a `text`."""
    top_n: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """The most results; 0 or nothing: all."""
    return_documents: bool = False
    """Whether a result repeats its document."""
    model: str | None = None
    """Of no effect, but repeated in the answer: this server has one model."""


class RerankResult(Fields):
    """One document of the answer."""

    index: int
    """Its place in the request, from 0."""
    relevance_score: float
    """From 0 to 1, falling: 1 / (1 + e^-score) of the score that `/v1/sift` gives. So .5 is the mean of the documents
    of this request, and .73 about a standard deviation above. Scores of two requests cannot be compared. Where a ranker
    decides the order, the n-th result has the n-th highest of these values."""
    document: Document | None = None
    """The document, if it was asked for."""


class Usage(Fields):
    """What was read, as Jina and vLLM count it."""

    prompt_tokens: int
    """Tokens of the query and the documents, by the embedder's tokenizer."""
    total_tokens: int
    """The same."""


class ApiVersion(Fields):
    """The version of the interface."""

    version: str
    """`1` or `2`, as the path says."""


class BilledUnits(Fields):
    """What Cohere would count."""

    search_units: int
    """One for each query."""


class Meta(Fields):
    """What Cohere's clients read besides the results."""

    api_version: ApiVersion
    """The version of the interface."""
    billed_units: BilledUnits
    """Nothing is billed here."""


class RerankResponse(Fields):
    """The documents, best first."""

    id: str
    """A name of this answer."""
    model: str
    """The model of the request, else `memsifter`."""
    results: list[RerankResult]
    """The documents, best first."""
    usage: Usage
    """What was read, as Jina and vLLM count it."""
    meta: Meta
    """What was read, as Cohere counts it."""


async def rerank(asked: RerankRequest, request: Request) -> RerankResponse:
    """Order documents by how much they help with a query."""
    state = state_of(request)
    texts = [item if isinstance(item, str) else item.text for item in asked.documents]
    state.check_count(len(texts), "documents")
    results, tokens = await state.pool.run(lambda: order_documents(state.sifter, asked.query, texts))
    shown = results[: asked.top_n or None]
    if asked.return_documents:
        shown = [item.model_copy(update={"document": Document(text=texts[item.index])}) for item in shown]
    version = ApiVersion(version="2" if request.url.path.startswith("/v2/") else "1")
    return RerankResponse(
        id=f"rerank-{uuid4().hex}",
        model=asked.model or MODEL_NAME,
        results=shown,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        meta=Meta(api_version=version, billed_units=BilledUnits(search_units=1)),
    )


def order_documents(sifter: Sifter, query: str, texts: list[str]) -> tuple[list[RerankResult], int]:
    """All documents, best first, and how many tokens were read.

    Raises:
        DataError: a document holds what no text can.
        MemSifterError: a model does not answer.
    """
    sessions = [{"turns": [{"role": "user", "content": text}]} for text in texts]
    try:
        found = sifter.sift(query, sessions, top_k=len(texts))
    except DataError as error:  # a client of this route knows of no sessions
        raise DataError(error.problem.replace("sessions[", "documents["), field=error.field, fix=error.fix) from error
    shares = sorted((_logistic(item.score) for item in found), reverse=True)
    results = [RerankResult(index=item.index, relevance_score=share) for item, share in zip(found, shares, strict=True)]
    read = sifter.encoder.reader.tokenizer([query, *texts], add_special_tokens=False)["input_ids"]
    return results, sum(map(len, read))


def _logistic(score: float) -> float:
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    power = math.exp(score)  # cannot overflow, however low the score
    return power / (1 + power)


for _path in PATHS:
    router.add_api_route(
        _path, rerank, methods=["POST"], responses=ERRORS, response_model_exclude_none=True, tags=["search"]
    )

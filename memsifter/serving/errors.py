"""Errors as clients read them: one body for Cohere's, Jina's and OpenAI's, and never a traceback."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from memsifter.errors import DataError, MemSifterError
from memsifter.io.display import printable
from memsifter.serving.fields import Fields
from memsifter.serving.work import BusyError
from memsifter.sifter.encoder import OutOfTimeError

logger = logging.getLogger(__name__)

_SHOWN_PROBLEMS = 3
_LONGEST = 1000


class ErrorDetails(Fields):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    """What is wrong, where, and what to do."""
    type: str
    """`invalid_request_error` if the request must change, else `server_error`."""
    code: str
    """A name for it that stays the same."""


class ErrorBody(Fields):
    """The body of every error."""

    message: str
    """The same text, where Cohere's clients look for it."""
    error: ErrorDetails
    """The details."""


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description}
    for status, description in {
        400: "The body is not JSON, or without a key the Host header names another machine.",
        401: "The API key is missing or wrong.",
        408: "The body took too long to arrive.",
        413: "The body is too large.",
        422: "A field is missing or wrong.",
        429: "Too many requests at once; try again after the seconds of `Retry-After`.",
        503: "A model does not answer.",
        504: "The search took too long; what was embedded is kept.",
    }.items()
}


def error_response(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response for an error. Texts of others are escaped."""
    shown = printable(" ".join(message.split()))[:_LONGEST]
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"message": shown, "error": {"message": shown, "type": kind, "code": code}}
    # As ASCII, so that no text, however odd, can fail here.
    return Response(json.dumps(body).encode("ascii"), status, headers, "application/json")


def busy_response(error: BusyError) -> Response:
    """The response where there is no free place."""
    return error_response(429, "too_many_requests", str(error), {"Retry-After": str(error.retry_after_s)})


def add_handlers(app: FastAPI) -> None:
    """Let every error of the routes become such a response."""

    async def wrong_request(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
        problems = [f"{_place(item['loc'])}: {item['msg']}" for item in error.errors()]
        more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        return error_response(422, "wrong_field", "; ".join(problems[:_SHOWN_PROBLEMS]) + more)

    async def wrong_data(_: Request, error: Exception) -> Response:
        return error_response(422, "wrong_field", str(error))

    async def out_of_time(_: Request, error: Exception) -> Response:
        return error_response(504, "out_of_time", str(error) or "the search took too long", {"Retry-After": "1"})

    async def busy(_: Request, error: Exception) -> Response:
        assert isinstance(error, BusyError)  # noqa: S101 - for the type checker
        return busy_response(error)

    async def failed(_: Request, error: Exception) -> Response:
        logger.error("%s", printable(str(error)))
        return error_response(503, "unavailable", str(error))

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
        code = {400: "not_json", 404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
        return error_response(error.status_code, code, str(error.detail), error.headers)

    async def bug(_: Request, error: Exception) -> Response:  # Starlette raises it again, so that it is logged
        return error_response(500, "internal", f"internal error ({type(error).__name__}); the server's log has more")

    app.add_exception_handler(RequestValidationError, wrong_request)
    app.add_exception_handler(DataError, wrong_data)
    app.add_exception_handler(OutOfTimeError, out_of_time)
    app.add_exception_handler(TimeoutError, out_of_time)
    app.add_exception_handler(BusyError, busy)
    app.add_exception_handler(MemSifterError, failed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, bug)


def _place(location: tuple[Any, ...]) -> str:
    """`documents[3]`, from pydantic's ("body", "documents", 3, "str")."""
    text = ""
    for part in location:
        if part != "body" or text:
            text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text or "body"

"""What all bodies have in common, and how JSON is read from a request."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Fields(BaseModel):
    """A body, or a part of one. The text below a field describes it in the OpenAPI page."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text


QueryText = Annotated[str, StringConstraints(min_length=1, max_length=50_000), AfterValidator(_not_blank)]
"""A question."""
DocumentText = Annotated[str, StringConstraints(min_length=1), AfterValidator(_not_blank)]
"""A text that is searched."""


MOST_ITEMS = 100_000
"""No list is read further; what a server takes is less (`Limits.sessions`)."""


class JsonRoute(APIRoute):
    """A route that refuses what Python's JSON takes and JSON is not, with the reason."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a request that reads its body so."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


class _JsonRequest(Request):
    async def json(self) -> Any:
        """The body.

        Raises:
            HTTPException: 400, it is not JSON.
        """
        body = await self.body()
        try:
            # In a thread: a body of megabytes takes long enough to hold up the other requests.
            return await asyncio.to_thread(read_json, body)
        except RecursionError as error:
            raise HTTPException(400, "the body is nested too deeply to be data") from error
        except UnicodeDecodeError as error:
            raise HTTPException(400, f"the body is not UTF-8 (byte {error.start})") from error
        except json.JSONDecodeError as error:
            raise HTTPException(400, f"the body is not JSON ({error.msg} at character {error.pos})") from error
        except ValueError as error:  # NaN, half a surrogate pair, a number of thousands of digits
            raise HTTPException(400, f"the body is not JSON that can be used ({error})") from error


def read_json(body: bytes) -> Any:
    """JSON in UTF-8 without NaN and Infinity, and without halves of surrogate pairs, which no text can hold.

    Raises:
        ValueError: it is not.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(body.decode("utf-8"), parse_float=_read_float, parse_constant=_refuse_constant)
    if _SURROGATE.search(body):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("a text holds half of a surrogate pair") from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _read_float(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"the number {digits[:20]} is out of range")
    return value

"""Requests to the LLM behind `/v1/chat/completions`, and its answers, passed through as they arrive."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from fastapi import Response
from fastapi.responses import StreamingResponse

from memsifter.chat.endpoint import Endpoint, is_loopback
from memsifter.chat.transport import MAX_REPLY_BYTES
from memsifter.serving.errors import error_response

_CONNECT_S = 10.0
_CONNECTIONS = 1000  # the gate of the route is the limit
_PASSED_ON = ("content-type", "retry-after", "x-request-id", "openai-processing-ms")


class Upstream:
    """One OpenAI-compatible endpoint, for one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Nothing is sent yet.

        Args:
            endpoint: its address, the model to ask for ("": the one that the request names), its key, and the longest
                silence.
        """
        self._endpoint = endpoint
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(endpoint.timeout_s, connect=min(_CONNECT_S, endpoint.timeout_s)),
            limits=httpx2.Limits(max_connections=_CONNECTIONS),
            follow_redirects=False,  # a redirect would post the history to another host
            # A proxy from the environment cannot reach this machine's loopback addresses.
            trust_env=not is_loopback(endpoint.base_url),
        )

    async def forward(self, fields: dict[str, Any], headers: dict[str, str]) -> Response:
        """Send a request for a chat completion; the answer, or the error, is the endpoint's own.

        Args:
            fields: the body.
            headers: to add to the answer.
        """
        if self._endpoint.model:
            fields = fields | {"model": self._endpoint.model}
        body = json.dumps(fields).encode("ascii")
        request = self._client.build_request("POST", f"{self._endpoint.base_url}/chat/completions", content=body)
        try:
            reply = await self._client.send(request, stream=True)
        except httpx2.TimeoutException:
            return self._no_answer(504, f"gave no answer within {self._endpoint.timeout_s:g} s")
        except httpx2.HTTPError as error:
            return self._no_answer(502, f"cannot be reached ({error or type(error).__name__})")
        headers = headers | {name: reply.headers[name] for name in _PASSED_ON if name in reply.headers}
        if reply.has_redirect_location:
            await reply.aclose()
            return self._no_answer(502, "redirects; correct --llm-url")
        if reply.is_success and fields.get("stream"):
            return StreamingResponse(self._relay(reply), reply.status_code, headers)
        try:
            content = await _read_bounded(reply)
        except httpx2.TimeoutException:
            return self._no_answer(504, f"was silent for {self._endpoint.timeout_s:g} s")
        except httpx2.HTTPError as error:
            return self._no_answer(502, f"broke off ({error or type(error).__name__})")
        if content is None:
            return self._no_answer(502, f"sent more than {MAX_REPLY_BYTES // 2**20} MiB")
        return Response(self._endpoint.hide_key(content, error=not reply.is_success), reply.status_code, headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _relay(self, reply: httpx2.Response) -> AsyncIterator[bytes]:
        """The chunks of a stream; one that breaks off ends with an event that says so."""
        try:
            async for chunk in reply.aiter_raw():
                yield chunk
        except httpx2.HTTPError as error:
            said = self._message(f"broke off ({error or type(error).__name__})")
            details = {"message": said, "type": "server_error", "code": "llm_failed"}
            yield f"\n\ndata: {json.dumps({'error': details})}\n\n".encode("ascii")
        finally:
            await reply.aclose()

    def _no_answer(self, status: int, problem: str) -> Response:
        return error_response(status, "llm_failed", self._message(problem))

    def _message(self, problem: str) -> str:
        return f"the LLM at {self._endpoint.shown_url} {problem}"


async def _read_bounded(reply: httpx2.Response) -> bytes | None:
    """The whole reply; None if it is too large."""
    body = bytearray()
    try:
        async for chunk in reply.aiter_bytes():
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                return None
    finally:
        await reply.aclose()
    return bytes(body)

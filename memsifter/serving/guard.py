"""What happens before a route is reached: the host, the API key, a place in the queue, a body that is not too large."""

import asyncio
import hmac
import re
import time
from collections.abc import Collection, Mapping

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memsifter.serving.errors import busy_response, error_response
from memsifter.serving.settings import Limits
from memsifter.serving.work import BusyError, Gate

OPEN_PATHS = frozenset({"/health", "/ready", "/docs", "/openapi.json"})
"""Need no key: they tell nothing of anybody."""
_PORT = re.compile(r":\d*$", re.ASCII)


class Guard:
    """An application behind its key, or the names of this machine, and its limits."""

    def __init__(
        self, app: ASGIApp, key: str | None, hosts: Collection[str], limits: Limits, gates: Mapping[str, Gate]
    ) -> None:
        """The guarded application.

        Args:
            app: the application.
            key: what clients must send as `Authorization: Bearer …`; None: nothing.
            hosts: the names under which it may be asked without a key, an IPv6 address in brackets. A page in the
                user's browser could else reach it under a name of its own that leads to this machine.
            limits: of a body.
            gates: by path, where a POST needs a place.
        """
        self._app, self._limits, self._gates = app, limits, gates
        self._key = None if key is None else key.encode("ascii")
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if self._key is None:
            if _PORT.sub("", host := headers.get("host", "")).lower() not in self._hosts:
                known = ", ".join(sorted(self._hosts))
                refusal = error_response(400, "wrong_host", f"the Host header is {host!r}; ask one of {known}")
                return await refusal(scope, receive, send)
        elif scope["path"] not in OPEN_PATHS and not self._knows_key(headers):
            refusal = error_response(
                401, "wrong_key", "send the API key as Authorization: Bearer …", {"WWW-Authenticate": "Bearer"}
            )
            return await refusal(scope, receive, send)
        gate = self._gates.get(scope["path"]) if scope["method"] == "POST" else None
        if gate is None:
            return await self._pass_on(scope, receive, send)
        if not gate.enter():
            refusal = busy_response(BusyError(gate.retry_after_s))
            return await refusal(scope, receive, send)
        started = time.monotonic()
        try:
            return await self._pass_on(scope, receive, send)
        finally:
            gate.leave(time.monotonic() - started)

    def _knows_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        sent = given.strip().encode("utf-8", "replace")
        return hmac.compare_digest(sent, self._key or b"") and scheme.lower() == "bearer"

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._read_body(Headers(scope=scope), receive)
        if body is None:  # the client is gone
            return None
        if isinstance(body, Response):
            return await body(scope, receive, send)
        given = False

        async def receive_read() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return await self._app(scope, receive_read, send)

    async def _read_body(self, headers: Headers, receive: Receive) -> bytes | Response | None:
        """The whole body; or what to answer to one that is too large or too slow."""
        most = self._limits.body_bytes
        too_large = error_response(413, "too_large", f"the body is larger than {self._limits.body_mib:g} MiB")
        announced = headers.get("content-length", "")
        if announced.isdecimal() and len(announced) < 20 and int(announced) > most:
            return too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > most:
                        return too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return error_response(408, "too_slow", f"the body did not arrive within {self._limits.seconds:g} s")

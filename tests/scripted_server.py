"""An OpenAI-compatible server on loopback that misbehaves as a test tells it to.

with ScriptedServer([Fail(500), Say("Paris")]) as server:
    ...  # ask server.base_url; the first request fails, the second and all later ones are answered
assert len(server.calls) == 2
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Say:
    """Answer with this text; None is a null content.

    `message` are further fields of the message, `choice` of the choice, `reply` of the reply.
    """

    text: str | list[Any] | None
    finish_reason: Any = "stop"
    message: Mapping[str, Any] = field(default_factory=dict)
    choice: Mapping[str, Any] = field(default_factory=dict)
    reply: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fail:
    """Answer with an error status."""

    status: int
    message: str = "scripted failure"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | int | None = None


@dataclass(frozen=True)
class Body:
    """Answer with these bytes as JSON, whatever they are."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Drop:
    """Close the connection without a reply."""


@dataclass(frozen=True)
class Stall:
    """Answer only after this time."""

    seconds: float


@dataclass(frozen=True)
class Stream:
    """Answer with server-sent events, one by one; `cut` closes the connection in the middle of the reply."""

    events: tuple[str, ...]
    pause_s: float = 0.0
    cut: bool = False


Act = Say | Fail | Body | Drop | Stall | Stream


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    path: str
    authorization: str | None
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The raw prompt, or the last message."""
        return str(self.body["prompt"] if "prompt" in self.body else self.body["messages"][-1]["content"])


def echo(call: Call) -> Act:
    """The default behaviour: the answer repeats the question."""
    return Say(f"<answer>{call.prompt}</answer>")


class ScriptedServer:
    """Follows `script` request by request, then `then`.

    `calls` holds what arrived, `most_at_once` is the highest number of requests in work at the same time.
    """

    def __init__(self, script: Iterable[Act] = (), then: Callable[[Call], Act] = echo) -> None:
        self.calls: list[Call] = []
        self.most_at_once = 0
        self._script = list(script)
        self._then = then
        self._at_once = 0
        self._lock = threading.Lock()
        self._http = _QuietServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [call.prompt for call in self.calls]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def enter(self, call: Call) -> Act:
        with self._lock:
            position = len(self.calls)
            self.calls.append(call)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return self._script[position] if position < len(self._script) else self._then(call)

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of the default, 5, more connections at once wait a second for TCP's next try

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the test; anything else is a bug of this server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def completion_body(say: Say, chat: bool) -> bytes:
    """A successful reply as the API defines it."""
    message = {"role": "assistant", "content": say.text, **say.message}
    content = {"message": message} if chat else {"text": say.text}
    reply = {
        "id": "scripted",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "finish_reason": say.finish_reason, "logprobs": None, **content, **say.choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        **say.reply,
    }
    return json.dumps(reply).encode()


def _handler_of(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            call = Call(self.path, self.headers["Authorization"], body)
            act = server.enter(call)
            try:
                self._perform(act, chat=call.path.endswith("/chat/completions"))
            finally:
                server.leave()

        def _perform(self, act: Act, chat: bool) -> None:
            if isinstance(act, Drop):
                self.close_connection = True
                return
            if isinstance(act, Stall):
                time.sleep(act.seconds)
                act = Say("late")
            if isinstance(act, Fail):
                error = {"error": {"message": act.message, "type": "scripted", "param": None, "code": act.code}}
                self._send(act.status, json.dumps(error).encode(), act.headers)
            elif isinstance(act, Stream):
                self._stream(act)
            elif isinstance(act, Body):
                self._send(act.status, act.content, act.headers)
            else:
                self._send(200, completion_body(act, chat), {})

        def _stream(self, act: Stream) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in act.events:
                data = f"data: {event}\n\n".encode()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
                time.sleep(act.pause_s)
            if act.cut:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Quiet."""

    return Handler

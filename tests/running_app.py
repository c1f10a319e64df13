"""`memsifter serve`'s application on a free port of this machine, in a thread of the test."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from requests import Response, Session

SESSIONS: list[dict[str, Any]] = [
    {"id": "cat", "date": "2024-05-20", "turns": [{"role": "user", "content": "My cat Momo is ill."}]},
    {"id": "bike", "date": "2023-03-01", "turns": [{"role": "user", "content": "I bought a red bicycle in Turin."}]},
    {"id": "soup", "turns": [{"role": "user", "content": "How do I cook lentils?"}]},
]


class Client:
    """Plain HTTP requests to one server."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = Session()
        self.session.trust_env = False

    def post(self, path: str, body: Any, **options: Any) -> Response:
        """Post a body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.session.post(self.base_url + path, data=content, headers=headers, timeout=60, **options)

    def get(self, path: str, **options: Any) -> Response:
        return self.session.get(self.base_url + path, timeout=60, **options)


@contextmanager
def running(app: FastAPI) -> Iterator[Client]:
    """The application, served until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}")
    try:
        until = time.monotonic() + 30
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < until, "not ready"
            time.sleep(0.02)
        yield client
    finally:
        server.should_exit = True
        thread.join(15)
        listening.close()

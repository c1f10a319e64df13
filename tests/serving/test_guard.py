import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from running_app import SESSIONS, Client

from bench.memory import HashedEncoder
from memsifter.errors import MemSifterError
from memsifter.serving.settings import Limits, ServerSettings
from memsifter.serving.work import Gate

KEY = "sk-a-key-of-the-test"
ASKED = {"query": "x", "documents": ["a"]}
Serve = Callable[..., Client]


class SlowEncoder(HashedEncoder):
    """Embeds only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may = threading.Event(), threading.Event()

    def __call__(self, block: pa.Table) -> pa.Table:
        if any("slow" in text for text in block["text"].to_pylist()):
            self.begun.set()
            self.may.wait(30)
        return super().__call__(block)


def test_a_key_is_asked_for_everywhere_but_where_nothing_is_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MEMSIFTER_API_KEY", KEY)
    client = serve()
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    wrong = [None, "", KEY, "Bearer", "Bearer x", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xe9"]
    for given in wrong:
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        for reply in (client.post("/v1/rerank", ASKED, headers=headers), client.get("/metrics", headers=headers)):
            assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert KEY not in reply.text
    for scheme in ("Bearer", "bearer"):
        assert client.post("/v1/rerank", ASKED, headers={"Authorization": f"{scheme} {KEY}"}).status_code == 200
    assert client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert KEY not in caplog.text


def test_other_machines_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMSIFTER_API_KEY", raising=False)
    for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3"):
        assert ServerSettings(host=host).read_key() is None
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""):  # noqa: S104
        with pytest.raises(MemSifterError, match="set the environment variable MEMSIFTER_API_KEY"):
            ServerSettings(host=host).read_key()
    monkeypatch.setenv("MEMSIFTER_API_KEY", "a\u00e4")
    with pytest.raises(MemSifterError, match="characters that no key has"):
        ServerSettings().read_key()
    with pytest.raises(MemSifterError, match="--seconds is nan; it must be a number above 0"):
        Limits(seconds=float("nan"))


def test_a_page_of_another_host_cannot_ask_a_server_without_a_key(client: Client) -> None:
    for host in ("evil.example:8000", "[::2]:8000", "", "localhost.evil.example", "localhost:80:80", "::1", "[::1"):
        named = {"Host": host}
        for reply in (client.post("/v1/rerank", ASKED, headers=named), client.get("/health", headers=named)):
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "wrong_host")
    # Browsers send this content without asking first; JSON they may not.
    reply = client.post("/v1/rerank", ASKED, headers={"Content-Type": "text/plain", "Origin": "http://evil.example"})
    assert reply.status_code == 422


@pytest.mark.parametrize("listening", ["::1", "127.1.2.3", "0:0::1"])
def test_a_server_without_a_key_answers_under_every_name_of_loopback(serve: Serve, listening: str) -> None:
    client = serve(host=listening)
    own = f"[{listening}]" if ":" in listening else listening
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", own, f"{own}:80"):
        assert client.get("/health", headers={"Host": host}).status_code == 200, host


def test_a_body_without_a_length_is_measured_too(serve: Serve) -> None:
    client = serve(body_mib=0.001)
    reply = client.session.post(f"{client.base_url}/v1/rerank", data=iter([b"x" * 600] * 10), timeout=10)
    assert reply.status_code == 413
    assert "larger than 0.001 MiB" in reply.json()["message"]


def test_a_body_that_does_not_arrive_ends(serve: Serve) -> None:
    client = serve(seconds=0.3)

    def slowly() -> Any:
        yield b"{"
        time.sleep(1)

    reply = client.session.post(f"{client.base_url}/v1/rerank", data=slowly(), timeout=10)
    assert reply.status_code == 408


def test_those_beyond_the_queue_are_told_when_to_come_back(serve: Serve) -> None:
    encoder = SlowEncoder()
    client = serve(encoder, threads=1, waiting=2)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.post, "/v1/rerank", {"query": f"slow {i}", "documents": ["a"]}) for i in range(3)]
        until = time.monotonic() + 10
        while "memsifter_requests_in_work 4.0" not in client.get("/metrics").text:  # the fourth asks for the figures
            assert time.monotonic() < until
        refused = client.post("/v1/sift", {"question": "x", "sessions": SESSIONS})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.json()["error"]["code"] == "too_many_requests"
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        encoder.may.set()
        assert [item.result().status_code for item in waiting] == [200] * 3
    assert client.post("/v1/sift", {"question": "x", "sessions": SESSIONS}).status_code == 200
    assert 'memsifter_requests_total{path="/v1/sift",status="429"} 1.0' in client.get("/metrics").text


def test_a_search_that_takes_too_long_ends_and_keeps_its_place(serve: Serve) -> None:
    encoder = SlowEncoder()
    client = serve(encoder, threads=1, waiting=0, seconds=0.2)
    late = client.post("/v1/rerank", {"query": "slow", "documents": ["a"]})
    assert (late.status_code, late.json()["error"]["code"]) == (504, "out_of_time")
    assert client.post("/v1/rerank", ASKED).status_code == 429  # its thread still works
    encoder.may.set()
    until = time.monotonic() + 10
    while (again := client.post("/v1/rerank", ASKED)).status_code == 429:
        assert time.monotonic() < until
    assert again.status_code == 200


def test_who_waits_too_long_for_a_thread_is_told_to_come_back(serve: Serve) -> None:
    encoder = SlowEncoder()
    client = serve(encoder, threads=1, waiting=5, seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/rerank", {"query": "slow", "documents": ["a"]})
        assert encoder.begun.wait(10), "it has the only thread"
        second = client.post("/v1/rerank", ASKED)
        assert (second.status_code, "Retry-After" in second.headers) == (429, True)
        encoder.may.set()
        assert first.result().status_code in (200, 504)


def test_a_gate_tells_its_pace() -> None:
    gate = Gate(2, 1)
    assert [gate.enter() for _ in range(3)] == [True, True, False]
    for _ in range(2):
        gate.leave(20.0)
    assert gate.retry_after_s == 8
    gate.enter()
    gate.leave(1e9)
    assert gate.retry_after_s == 60

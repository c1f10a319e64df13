import asyncio
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from scripted_server import Fail, Say, ScriptedServer, Stall

from bench.memory import HashedEncoder
from memsifter.errors import MemSifterError
from memsifter.sifter.memory import Memory
from memsifter.sifter.settings import SifterSettings
from memsifter.sifter.sifter import Sifter

SESSIONS = [
    {"id": "cat", "date": "2024-05-20", "turns": [{"role": "user", "content": "My cat Momo is ill."}]},
    {"id": "bike", "date": "2023-03-01", "turns": [{"role": "user", "content": "I bought a red bicycle in Turin."}]},
    {"id": "soup", "date": "2023-03-02", "turns": [{"role": "user", "content": "How do I cook lentils?"}]},
]


def shown(server: ScriptedServer) -> str:
    return str(server.calls[-1].body["messages"][-1]["content"])


def test_the_llm_answers_from_the_best_sessions_in_the_order_of_time(sifter: Sifter) -> None:
    with ScriptedServer([Say("<think>A cat.</think><answer>Momo</answer>")]) as server:
        answer = sifter.answer(
            "Is my cat ill, and my bicycle red?", SESSIONS, base_url=server.base_url, model="m", top_k=2
        )
    assert answer.text == "Momo"
    assert answer.session_ids == ("bike", "cat")
    assert {session.id for session in answer.sessions} == {"cat", "bike"}
    assert "My cat Momo is ill." in shown(server)
    assert "lentils" not in shown(server)


def test_sessions_below_the_least_probability_are_not_shown(encoder: HashedEncoder) -> None:
    default = SifterSettings()
    settings = replace(default, chat=default.chat.model_copy(update={"min_score": 0.5}))
    with Sifter(encoder, settings) as sifter, ScriptedServer([Say("<answer>Momo</answer>")]) as server:
        answer = sifter.answer("What is my cat called?", SESSIONS, base_url=server.base_url, model="m")
    assert answer.session_ids == ("cat",)
    assert len(answer.sessions) == 3


def test_memory_and_coroutines_answer_alike(sifter: Sifter, tmp_path: Path) -> None:
    with (
        ScriptedServer(then=lambda _: Say("<answer>Momo</answer>")) as server,
        Memory(tmp_path / "memory", sifter) as memory,
    ):
        endpoint: dict[str, Any] = {"base_url": server.base_url, "model": "m", "top_k": 1}
        memory.add_many("ann", SESSIONS)
        kept = memory.answer("ann", "What is my cat called?", "2024-06-01", **endpoint)
        prompt = shown(server)
        assert asyncio.run(sifter.aanswer("What is my cat called?", SESSIONS, "2024-06-01", **endpoint)) == kept
        assert shown(server) == prompt
        assert asyncio.run(memory.aanswer("ann", "What is my cat called?", "2024-06-01", **endpoint)) == kept
    assert kept.session_ids == ("cat",)
    assert len(server.calls) == 3  # nothing of an answer is kept


def test_a_notebook_asks_without_await_too(sifter: Sifter) -> None:
    async def cell() -> str:  # a notebook runs its cells in an event loop
        return sifter.answer("What is my cat called?", SESSIONS, base_url=server.base_url, model="m").text

    with ScriptedServer([Say("<answer>Momo</answer>")]) as server:
        assert asyncio.run(cell()) == "Momo"
    with ScriptedServer([Fail(401, "wrong key")]) as server, pytest.raises(MemSifterError, match="wrong key"):
        asyncio.run(cell())


def test_an_interrupt_in_a_notebook_ends_the_wait(sifter: Sifter) -> None:
    async def cell() -> None:
        Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        sifter.answer("What is my cat called?", SESSIONS, base_url=server.base_url, model="m")

    loop = asyncio.new_event_loop()  # unlike asyncio.run, it leaves SIGINT to Python, as a notebook's does
    started = time.monotonic()
    with ScriptedServer(then=lambda _: Stall(30.0)) as server, pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(cell())
    loop.close()
    assert time.monotonic() - started < 15


def test_what_is_wrong_with_the_endpoint_is_one_error(sifter: Sifter, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemSifterError, match="no LLM is named; give base_url"):
        sifter.answer("x", SESSIONS)
    with pytest.raises(MemSifterError, match=r"^answer: base_url: must look like http://host:port/v1[^;\[]*$"):
        sifter.answer("x", SESSIONS, base_url="ftp://x", model="m")
    with pytest.raises(MemSifterError, match=r"^answer: base_url: holds a user or password") as failed:
        sifter.answer("x", SESSIONS, base_url="http://ann:hunter2@x/v1", model="m")
    assert "hunter2" not in str(failed.value)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MemSifterError, match=r"no API key for https://example\.org/v1; set .* OPENAI_API_KEY"):
        sifter.answer("x", SESSIONS, base_url="https://example.org/v1", model="m")
    with (
        ScriptedServer([Fail(401, "wrong key")]) as server,
        pytest.raises(MemSifterError, match=r"answer: .*wrong key"),
    ):
        sifter.answer("x", SESSIONS, base_url=server.base_url, model="m")


def test_an_llm_that_cannot_be_reached_is_told_soon_and_nothing_is_said_of_a_cache(sifter: Sifter) -> None:
    with ScriptedServer() as server:
        gone = server.base_url
    started = time.monotonic()
    with pytest.raises(MemSifterError) as failed:
        sifter.answer("x", SESSIONS, base_url=gone, model="m")
    assert time.monotonic() - started < 20  # of waits that are drawn from up to 1, 2 and 4 s
    assert re.fullmatch(rf"answer: request to {gone} failed: connection failed \(.*\)", str(failed.value))

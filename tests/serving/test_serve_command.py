import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from running_app import Client

from memsifter.cli import main

ASKED = {"query": "What is my cat?", "documents": ["My cat is Momo.", "The bike is mine."]}


def wait_for(what: Any, seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


@contextmanager
def serving(tiny_embedder: Path, folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """`memsifter serve` as a process of its own, and a client of it."""
    command = [sys.executable, "-m", "memsifter", "serve", "--port", "0", "--embedder", str(tiny_embedder), *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"MEMSIFTER_CACHE": str(folder)}
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, (folder / "log").read_text()
        yield process, Client(address[0])
    finally:
        process.terminate()
        process.wait(30)


def is_ready(client: Client) -> bool:
    return bool(client.get("/ready").status_code == 200)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_process_is_replaced_and_all_end_with_the_command(tiny_embedder: Path, tmp_path: Path) -> None:
    with serving(tiny_embedder, tmp_path, "--processes", "2", "--no-cache") as (process, client):
        wait_for(lambda: is_ready(client))
        workers = wait_for(lambda: workers_of(process, 2))
        assert client.post("/v1/rerank", ASKED).status_code == 200
        workers[0].send_signal(signal.SIGKILL)
        replaced = wait_for(lambda: {item.pid for item in workers_of(process, 2)} - {item.pid for item in workers})
        assert len(replaced) == 1
        client.session.close()
        wait_for(lambda: is_ready(client))
        for _ in range(10):
            assert client.post("/v1/rerank", ASKED).json()["results"][0]["index"] in (0, 1)
        # All processes are counted, whichever answers.
        counted = client.get("/metrics").text
        assert 'memsifter_requests_total{path="/v1/rerank",status="200"} 11.0' in counted
        workers = workers_of(process, 2)
        process.kill()  # without any chance to tell them
        assert psutil.wait_procs(workers, 20)[1] == []


def workers_of(process: "subprocess.Popen[str]", count: int) -> list[psutil.Process]:
    """The processes that answer, if there are so many."""
    found = [
        child
        for child in psutil.Process(process.pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())
    ]
    return found if len(found) == count else []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_server_ends_cleanly_when_told_to(tiny_embedder: Path, tmp_path: Path) -> None:
    memory = str(tmp_path / "memory.sqlite")
    with serving(tiny_embedder, tmp_path, "--memory", memory) as (process, client):
        wait_for(lambda: is_ready(client))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert (tmp_path / "log").read_text().splitlines()[-1] == "memsifter: interrupted"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0 can be reached by other machines"),  # noqa: S104
        (("--port", "99999"), "cannot listen on 127.0.0.1, port 99999"),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
        (("--processes", "0"), "--processes is 0; it must be at least 1"),
        (("--processes", "2", "--ranker", "x"), "each process would start a ranker"),
        (("--threads", "0"), "--threads is 0"),
        (("--embedder", "no/such"), "no/such: no such folder"),
        (("--llm-url", "ftp://x"), "--llm-url must look like http://host:port/v1, with a port from 1 to 65535"),
        (("--llm-url", "http://[::1/v1"), "--llm-url is not a URL"),
        (("--llm-url", "http://localhost:abc/v1"), "--llm-url must look like http://host:port/v1"),
        (("--llm-url", "http://localhost:99999/v1"), "--llm-url must look like http://host:port/v1"),
        (("--llm-url", "http://localhost/v1?key=SECRET"), "--llm-url holds a query string"),
        (("--llm-url", "http://ann:SECRET@localhost/v1"), "--llm-url holds a user or password"),
        (("--llm-seconds", "0"), "--llm-seconds is 0; it must be a number above 0"),
        (("--llm-seconds", "-1"), "--llm-seconds is -1; it must be a number above 0"),
        (("--llm-seconds", "nan"), "--llm-seconds is nan; it must be a number above 0"),
        (("--llm-url", "https://api.example.org/v1"), "no API key for https://api.example.org/v1"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_served(
    arguments: tuple[str, ...],
    problem: str,
    tiny_embedder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MEMSIFTER_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    given = ["serve", "--port", "0", "--no-cache"]
    given += [] if "--embedder" in arguments else ["--embedder", str(tiny_embedder)]
    with pytest.raises(SystemExit) as end:
        main([*given, *arguments])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (1, "")
    assert f"memsifter: error: {problem}" in err
    assert "SECRET" not in err

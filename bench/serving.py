"""`memsifter serve` under load: python -m bench.serving [--clients 200].

Starts the server on a free port of this machine and asks it from many clients at once, each of which sends its next
request when it has the answer to the last one. A client that is told to come back later (429) does so. Sessions are
made-up words. `sift` asks other questions about the same sessions, whose embeddings the server then has; `rerank` sends
documents that it has never seen.

Prints a table: requests answered, how often 429 was said, and what an answered request took from its first byte sent to
its last byte read. Exit code 1 if there was any other error.
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
import pandas as pd

from bench.retrieval import make_text

_START_S = 180.0
_TURNS, _WORDS = 4, 20


@dataclass
class Tally:
    """What became of the requests."""

    seconds: list[float] = field(default_factory=list)
    told_to_wait: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> None:
    """Print the table."""
    arguments = _read_arguments()
    random_words = random.Random(arguments.seed)
    history = [{"turns": _make_turns(random_words)} for _ in range(arguments.sessions)]

    def sift(_: int) -> tuple[str, dict[str, Any]]:
        return "/v1/sift", {"question": make_text(random_words, 8), "sessions": history}

    def rerank(_: int) -> tuple[str, dict[str, Any]]:
        texts = [make_text(random_words, 40) for _ in range(arguments.documents)]
        return "/v1/rerank", {"query": make_text(random_words, 8), "documents": texts}

    rows, failed = [], False
    with serving(arguments.serve) as url:
        for name, make, count in (
            (f"sift, {arguments.sessions} known sessions", sift, arguments.requests),
            (f"rerank, {arguments.documents} new documents", rerank, arguments.requests),
        ):
            started = time.perf_counter()
            tally = asyncio.run(_ask_all(url, make, count, arguments.clients))
            elapsed = time.perf_counter() - started
            quantiles = np.percentile(tally.seconds or [np.nan], [50, 90, 99])
            asked = [name, arguments.clients, len(tally.seconds), tally.told_to_wait, len(tally.errors)]
            rows.append([*asked, *quantiles, len(tally.seconds) / elapsed])
            failed |= bool(tally.errors)
            for error in tally.errors[:5]:
                print(error, file=sys.stderr)
    columns = [
        "request",
        "clients",
        "answered",
        "429",
        "other errors",
        "p50, s",
        "p90, s",
        "p99, s",
        "answers a second",
    ]
    print(pd.DataFrame(rows, columns=columns).to_markdown(index=False, floatfmt=".2f"))
    sys.exit(1 if failed else 0)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200, help="how many ask at once")
    parser.add_argument("--requests", type=int, default=400, help="how many requests of each kind")
    parser.add_argument("--sessions", type=int, default=30, help="sessions of the history")
    parser.add_argument("--documents", type=int, default=5, help="documents to order")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("serve", nargs="*", help="options of `memsifter serve`, after --")
    return parser.parse_args()


def _make_turns(words: random.Random) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[turn % 2], "content": make_text(words, _WORDS)} for turn in range(_TURNS)]


@contextmanager
def serving(options: list[str]) -> Iterator[str]:
    """A server of its own on a free port; its address, once the models are loaded."""
    command = [sys.executable, "-m", "memsifter", "serve", "--port", "0", "--no-cache", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        address = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        if address is None:
            sys.exit("the server did not start")
        until = time.monotonic() + _START_S
        with httpx2.Client(trust_env=False) as client:
            while client.get(f"{address[0]}/ready").status_code != 200:
                if time.monotonic() > until:
                    sys.exit("the models were not loaded in time")
                time.sleep(0.2)
        yield address[0]
    finally:
        process.terminate()
        process.wait(30)


async def _ask_all(url: str, make: Callable[[int], tuple[str, dict[str, Any]]], count: int, clients: int) -> Tally:
    tally = Tally()
    left = iter(range(count))
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as client:

        async def ask_in_turn() -> None:
            for number in left:
                await _ask(client, *make(number), tally)

        await asyncio.gather(*(ask_in_turn() for _ in range(clients)))
    return tally


async def _ask(client: httpx2.AsyncClient, path: str, body: dict[str, Any], tally: Tally) -> None:
    while True:
        started = time.perf_counter()
        try:
            reply = await client.post(path, json=body)
        except httpx2.HTTPError as error:
            return tally.errors.append(f"{path}: {type(error).__name__}: {error}")
        if reply.status_code == 200:
            return tally.seconds.append(time.perf_counter() - started)
        if reply.status_code != 429:
            return tally.errors.append(f"{path}: {reply.status_code} {reply.text[:200]}")
        tally.told_to_wait += 1
        await asyncio.sleep(float(reply.headers["Retry-After"]))


if __name__ == "__main__":
    main()

"""An endpoint that fails delays a reward or stops it; it never changes one."""

import asyncio
import itertools
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reward_samples import extra_info, reader, rollout, settings
from scripted_server import Act, Body, Call, Drop, Fail, Say, ScriptedServer, Stall, completion_body

from memsifter.errors import MemSifterError
from memsifter.reward.compute_score import compute_score

RANKINGS = [random.Random(seed).sample(range(10), 10) for seed in range(8)]
QUESTIONS = [extra_info(question_id=f"q{number}", question=f"Which facts, {number}?") for number in range(3)]


async def pay_all(base_url: str, cache: Path, **client: Any) -> list[float]:
    text = settings(base_url, cache, **client).model_dump_json()
    paid = await asyncio.gather(
        *(
            compute_score(row["dataset"], rollout(ranking), row["answer"], row, settings=text)
            for row in QUESTIONS
            for ranking in RANKINGS
        )
    )
    return [each["score"] for each in paid]


def failing(share: float, answer: Callable[[Call], Act]) -> tuple[Callable[[Call], Act], list[Act]]:
    """A server that fails this share of all requests, in every way; and the list of its failures."""
    rng, lock = random.Random(11), threading.Lock()
    failures: list[Act] = []
    cut = completion_body("fact2 fact6", chat=True)[:-40]
    ways: Iterator[Act] = itertools.cycle(
        [Fail(500), Fail(429, headers={"Retry-After": "0.1"}), Drop(), Stall(0.8), Body(cut), Body(b"[]"), Fail(503)]
    )

    def act(call: Call) -> Act:
        with lock:
            if rng.random() < share:
                failures.append(next(ways))
                return failures[-1]
        return answer(call)

    return act, failures


async def test_a_server_that_often_fails_pays_what_a_healthy_one_pays(tmp_path: Path) -> None:
    with ScriptedServer(then=reader()) as healthy:
        expected = await pay_all(healthy.base_url, tmp_path / "healthy")
    act, failures = failing(0.3, reader())
    with ScriptedServer(then=act) as sick:
        assert await pay_all(sick.base_url, tmp_path / "sick", timeout_s=0.5, max_retries=12) == expected
        assert len({type(failure) for failure in failures}) == 4
        assert len(failures) > 0.15 * len(sick.calls)
        # Whatever came back wrong was not kept: the cache alone pays the same.
        asked = len(sick.calls)
        assert await pay_all(sick.base_url, tmp_path / "sick") == expected
        assert len(sick.calls) == asked
    assert len(set(expected)) > 5


async def test_a_server_that_stays_down_is_named_before_the_deadline_is_long_over(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Fail(503)) as server:
        start = time.monotonic()
        with pytest.raises(MemSifterError, match=rf"reward: .*{server.base_url}.*503.*deadline of 1.5 s"):
            await pay_all(server.base_url, tmp_path, deadline_s=1.5, max_retries=1000)
        assert time.monotonic() - start < 15  # one deadline, not one for each of the requests that wait


async def test_a_server_that_hangs_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Stall(20)) as server:
        start = time.monotonic()
        with pytest.raises(MemSifterError, match=r"reward: .*deadline of 1 s"):
            await pay_all(server.base_url, tmp_path, timeout_s=30.0, deadline_s=1.0)
        assert time.monotonic() - start < 10


async def test_an_outage_leaves_nothing_wrong_behind(tmp_path: Path) -> None:
    with ScriptedServer(then=reader()) as server:
        expected = await pay_all(server.base_url, tmp_path / "healthy")
    down = itertools.chain([False] * 20, itertools.repeat(True))

    def dies(call: Call) -> Act:
        return Fail(500) if next(down) else reader()(call)

    with ScriptedServer(then=dies) as server, pytest.raises(MemSifterError):
        await pay_all(server.base_url, tmp_path / "outage", max_retries=1, deadline_s=3.0)
    with ScriptedServer(then=reader()) as server:
        # The address is not part of the cache's key here: what was answered before the outage is known.
        assert await pay_all(server.base_url, tmp_path / "outage") == expected


def _pay_in_a_process(base_url: str, cache: Path, start: Any, results: Any) -> None:
    start.wait()
    results.put(asyncio.run(pay_all(base_url, cache)))


@pytest.mark.slow
def test_two_processes_on_one_cache_agree(tmp_path: Path) -> None:
    """The server answers the same request differently each time, so only one answer to each may ever count."""
    counter, lock = itertools.count(), threading.Lock()

    def fickle(_: Call) -> Act:
        with lock:
            return Say(f"fact{next(counter) % 7}")

    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    with ScriptedServer(then=fickle) as server:
        arguments = (server.base_url, tmp_path, start, results)
        processes = [context.Process(target=_pay_in_a_process, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        first, second = results.get(timeout=120), results.get(timeout=120)
        for process in processes:
            process.join(60)
        assert first == second
        asked = len(server.calls)
        assert asyncio.run(pay_all(server.base_url, tmp_path)) == first
        assert len(server.calls) == asked

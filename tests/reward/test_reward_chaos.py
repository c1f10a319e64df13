"""An endpoint that fails delays a reward or stops it; it never changes one."""

import asyncio
import itertools
import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from reward_samples import extra_info, reader, rollout, settings
from scripted_server import Act, Call, Fail, Say, ScriptedServer, Stall, echo
from server_faults import TRANSIENT, failing

from memsifter.chat.endpoint import ChatRequest, Sampling
from memsifter.chat.reply import Answer
from memsifter.chat.shared_client import ask_all
from memsifter.errors import MemSifterError
from memsifter.reward.compute_score import compute_score

RANKINGS = [random.Random(seed).sample(range(10), 10) for seed in range(8)]
QUESTIONS = [extra_info(question_id=f"q{number}", question=f"Which facts, {number}?") for number in range(3)]


async def score_all(base_url: str, cache: Path, **client: Any) -> list[float]:
    text = settings(base_url, cache, **client).model_dump_json()
    scored = await asyncio.gather(
        *(
            compute_score(row["dataset"], rollout(ranking), row["answer"], row, settings=text)
            for row in QUESTIONS
            for ranking in RANKINGS
        )
    )
    return [each["score"] for each in scored]


async def test_rewards_are_those_of_a_healthy_server(tmp_path: Path) -> None:
    with ScriptedServer(then=reader()) as healthy:
        expected = await score_all(healthy.base_url, tmp_path / "healthy")
    act, failures = failing(healthy.prompts, reader())
    with ScriptedServer(then=act) as sick:
        assert await score_all(sick.base_url, tmp_path / "sick", timeout_s=0.5, max_retries=12) == expected
        assert len(failures) >= len(TRANSIENT), "every way to fail was tried"
        assert len(failures) > 0.3 * len(sick.calls)
        # No wrong reply was kept: the cache alone gives the same rewards.
        sent = len(sick.calls)
        assert await score_all(sick.base_url, tmp_path / "sick") == expected
        assert len(sick.calls) == sent
    assert len(set(expected)) > 5


def test_answers_are_those_of_a_healthy_server(tmp_path: Path) -> None:
    client = settings("http://127.0.0.1:1/v1", tmp_path, timeout_s=0.5, max_retries=12).working_llm
    questions = [f"q{number}" for number in range(4 * len(TRANSIENT))]
    requests = [ChatRequest([{"role": "user", "content": text}], Sampling(16, 0.0)) for text in questions]
    act, failures = failing(questions, echo)
    with ScriptedServer(then=act) as sick:
        answers = ask_all(requests, client.model_copy(update={"base_url": sick.base_url}))
    texts = [answer.text for answer in answers if isinstance(answer, Answer)]
    assert texts == [f"<answer>{text}</answer>" for text in questions]
    assert len(failures) >= len(TRANSIENT)


REFUSALS: Iterator[Act] = itertools.cycle(
    [
        Say(None, "content_filter"),
        Say("fact2", "content_filter"),
        Say(None, message={"refusal": "no"}),
        Say(None, "length"),
        Say("<think>fact2", "length"),
        Fail(400, "filtered"),
    ]
)


async def test_a_refused_question_is_left_out_and_changes_no_other_reward(tmp_path: Path) -> None:
    """Session 0 is never answered about."""

    def refuses(call: Call) -> Act:
        return next(REFUSALS) if "fact0" in call.prompt else cast(Act, reader()(call))

    row = extra_info()

    async def score(ranking: list[int], server: ScriptedServer, cache: Path) -> dict[str, float]:
        text = settings(server.base_url, cache, max_sessions=3, on_refusal="leave_out").model_dump_json()
        return await compute_score(row["dataset"], rollout(ranking), row["answer"], row, settings=text)

    with ScriptedServer(then=reader()) as healthy, ScriptedServer(then=refuses) as server:
        for ranking in ([9, 2, 6], [2, 6, 1], [0, 2, 6], [6, 5, 4], [1, 0]):
            expected = await score(ranking, healthy, tmp_path / "healthy")
            scored = await score(ranking, server, tmp_path / "refusing")
            assert list(scored) == list(expected)
            if 0 in ranking:
                assert (scored["left_out"], scored["score"]) == (1.0, 0.0)
            else:
                assert scored == expected


async def test_a_server_that_stays_down_is_named_before_the_deadline_is_long_over(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Fail(503)) as server:
        start = time.monotonic()
        with pytest.raises(MemSifterError, match=rf"reward: .*{server.base_url}.*503.*deadline of 1.5 s"):
            await score_all(server.base_url, tmp_path, deadline_s=1.5, max_retries=1000)
        assert time.monotonic() - start < 15  # one deadline, not one for each of the requests that wait


async def test_a_server_that_hangs_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Stall(20)) as server:
        start = time.monotonic()
        with pytest.raises(MemSifterError, match=r"reward: .*deadline of 1 s"):
            await score_all(server.base_url, tmp_path, timeout_s=30.0, deadline_s=1.0)
        assert time.monotonic() - start < 10


async def test_an_outage_leaves_nothing_wrong_behind(tmp_path: Path) -> None:
    with ScriptedServer(then=reader()) as server:
        expected = await score_all(server.base_url, tmp_path / "healthy")
    down = itertools.chain([False] * 20, itertools.repeat(True))

    def dies(call: Call) -> Act:
        return Fail(500) if next(down) else reader()(call)

    with ScriptedServer(then=dies) as server, pytest.raises(MemSifterError):
        await score_all(server.base_url, tmp_path / "outage", max_retries=1, deadline_s=3.0)
    with ScriptedServer(then=reader()) as server:
        # The address is not part of the cache's key here: what was answered before the outage is known.
        assert await score_all(server.base_url, tmp_path / "outage") == expected


def _score_in_a_process(base_url: str, cache: Path, start: Any, results: Any) -> None:
    start.wait()
    results.put(asyncio.run(score_all(base_url, cache)))


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
        processes = [context.Process(target=_score_in_a_process, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        first, second = results.get(timeout=120), results.get(timeout=120)
        for process in processes:
            process.join(60)
        assert first == second
        sent = len(server.calls)
        assert asyncio.run(score_all(server.base_url, tmp_path)) == first
        assert len(server.calls) == sent

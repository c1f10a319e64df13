"""Servers that fail: answers and rewards are those of a healthy one, or the failure is told and nothing is scored."""

import asyncio
import gzip
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reward_samples import extra_info, reader, rollout, settings
from scripted_server import Act, Body, Call, ScriptedServer, Stall, echo
from server_faults import ENDPOINT, REFUSED, TRANSIENT, WHOLE, failing

from bench.faults.outcome import Campaign, describe_problem
from memsifter.chat.endpoint import ChatRequest, Sampling
from memsifter.chat.reply import Answer, Refusal
from memsifter.chat.shared_client import ask_all
from memsifter.errors import MemSifterError
from memsifter.params.llm import OnRefusal
from memsifter.reward.compute_score import compute_score

_PASSING_STATUSES = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529, 599)
_LASTING_STATUSES = (301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 410, 413, 415, 418, 422, 431, 451, 501)
# What a proxy, a router or a broken server puts behind a status; each but the last few looks like an answer.
_BODIES: dict[str, Body] = {
    "an answer": Body(WHOLE),
    "a compressed answer": Body(gzip.compress(WHOLE), {"Content-Encoding": "gzip"}),
    "half an answer": Body(WHOLE[: len(WHOLE) // 2]),
    "nothing": Body(b""),
    "a web page": Body(b"<html><h1>fact2 fact6</h1></html>", {"Content-Type": "text/html"}),
    "an error": Body(b'{"error": {"message": "down", "type": "server_error", "code": null}}'),
    "text": Body(b"fact2 fact6", {"Content-Type": "text/plain"}),
    "bytes": Body(bytes(range(256))),
}
_CLIENT: dict[str, Any] = {"timeout_s": 2.0, "max_retries": 12, "deadline_s": 120.0}


def passing_faults() -> dict[str, Act]:
    """The kinds after which another try helps."""
    combined = {
        f"{status} with {name}": _with(body, status) for status in _PASSING_STATUSES for name, body in _BODIES.items()
    }
    broken = {f"200 with {name}": body for name, body in _BODIES.items() if "answer" not in name or "half" in name}
    slow: dict[str, Act] = {"late": Stall(5.0)}  # beyond the time limit also on a busy machine
    return TRANSIENT | slow | combined | broken


def lasting_faults() -> dict[str, Act]:
    """The kinds that stay: of one question, or of the endpoint."""
    known = {name: act for name, (act, _) in (REFUSED | ENDPOINT).items()}
    return known | {
        f"{status} with {name}": _with(body, status) for status in _LASTING_STATUSES for name, body in _BODIES.items()
    }


def _with(body: Body, status: int) -> Body:
    return Body(body.content, body.headers, status)


def run_servers(count: int, seed: int) -> Campaign:
    """Try at least `count` kinds, at most all there are; which ones depends on the seed alone."""
    campaign = Campaign("servers", f"python -m bench.faults servers --count {count} --seed {seed}")
    rng = random.Random(seed)
    passing, lasting = passing_faults(), lasting_faults()
    share = count * len(passing) // (len(passing) + len(lasting)) + 1
    passing = _sample(passing, share, rng)
    lasting = _sample(lasting, count - len(passing), rng)
    with tempfile.TemporaryDirectory() as folder:
        _try_passing(campaign, Path(folder), passing, seed)
        for number, (name, act) in enumerate(lasting.items()):
            _try_lasting(campaign, Path(folder) / str(number), name, act)
    return campaign


def _sample(faults: Mapping[str, Act], count: int, rng: random.Random) -> dict[str, Act]:
    names = rng.sample(sorted(faults), min(max(count, 1), len(faults)))
    return {name: faults[name] for name in names}


def _try_passing(campaign: Campaign, folder: Path, faults: Mapping[str, Act], seed: int) -> None:
    """Three in ten requests fail, in all these ways; then all answers and all rewards are compared."""
    questions = [f"q{number}" for number in range(5 * len(faults))]
    act, failures = failing(questions, echo, faults, seed)
    expected = [f"<answer>{text}</answer>" for text in questions]
    with ScriptedServer(then=act) as sick:
        answers = _ask(sick.base_url, folder / "answers", questions)
        share = len(failures) / len(sick.calls)
    wrong = [text for text, answer, right in zip(questions, answers, expected, strict=True) if answer != right]
    rewards, healthy, failed = asyncio.run(_compare_rewards(folder, faults, seed))
    if wrong or rewards != healthy:
        campaign.fail("wrong answers or rewards", f"questions {wrong[:5]}, {rewards} for {healthy}")
    for name, fault in faults.items():
        if any(fault is one for one in [*failures, *failed]):
            campaign.count(name, "passed over")
        else:
            campaign.fail(name, "not tried; give more requests")
    campaign.notes.append(
        f"{len(questions)} answers and {len(healthy)} rewards were compared with those of a healthy server, "
        f"while {share:.0%} of the requests failed"
    )


def _ask(base_url: str, cache: Path, questions: list[str], on_refusal: OnRefusal = "fail") -> list[str | Refusal]:
    client = settings(base_url, cache, on_refusal=on_refusal, **_CLIENT).working_llm
    requests = [ChatRequest([{"role": "user", "content": text}], Sampling(16, 0.0), text) for text in questions]
    return [answer.text if isinstance(answer, Answer) else answer for answer in ask_all(requests, client)]


async def _compare_rewards(
    folder: Path, faults: Mapping[str, Act], seed: int
) -> tuple[list[float], list[float], list[Act]]:
    rankings = [random.Random(number).sample(range(10), 10) for number in range(len(faults) // 4 + 1)]
    with ScriptedServer(then=reader()) as server:
        healthy = await _score(server.base_url, folder / "healthy", rankings)
        prompts = server.prompts
    act, failures = failing(prompts, reader(), faults, seed)
    with ScriptedServer(then=act) as server:
        return await _score(server.base_url, folder / "sick", rankings), healthy, failures


async def _score(base_url: str, cache: Path, rankings: list[list[int]], **client: Any) -> list[float]:
    text = settings(base_url, cache, **{**_CLIENT, **client}).model_dump_json()
    row = extra_info()
    scored = await asyncio.gather(
        *(compute_score(row["dataset"], rollout(one), row["answer"], row, settings=text) for one in rankings)
    )
    return [-1.0 if each["left_out"] else each["score"] for each in scored]


def _try_lasting(campaign: Campaign, folder: Path, name: str, fault: Act) -> None:
    """One question in three meets the fault. It gets no answer and no score; the others are answered as ever."""

    def behave(answer: Callable[[Call], Act], cursed: str) -> Callable[[Call], Act]:
        return lambda call: fault if cursed in call.prompt else answer(call)

    problems: list[str | None] = []
    with ScriptedServer(then=behave(echo, "q1")) as server:
        try:
            first, second, third = _ask(server.base_url, folder / "chat", ["q0", "q1", "q2"], "leave_out")
            if not isinstance(second, Refusal) or (first, third) != ("<answer>q0</answer>", "<answer>q2</answer>"):
                problems.append(f"answered {second!r}")
        except MemSifterError as error:
            problems.append(describe_problem(error))
    for on_refusal in ("fail", "leave_out"):
        with ScriptedServer(then=behave(reader(), "fact2")) as server:
            try:
                cache = folder / on_refusal
                scores = asyncio.run(_score(server.base_url, cache, [[2, 6, 0]], on_refusal=on_refusal))
                if on_refusal == "fail" or scores != [-1.0]:
                    problems.append(f"scored {scores}")
            except MemSifterError as error:
                problems.append(describe_problem(error))
    if found := [problem for problem in problems if problem]:
        campaign.fail(name, "; ".join(found))
    else:
        campaign.count(name, "told, never scored")

import asyncio
import logging
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from scripted_server import Act, Body, Call, Drop, Fail, Say, ScriptedServer, Stall

from memsifter.chat.cache import AnswerCache
from memsifter.chat.client import ChatClient
from memsifter.chat.endpoint import ChatRequest, Endpoint, Sampling
from memsifter.chat.reply import Answer, Refusal, RefusedRequestError
from memsifter.errors import MemSifterError
from memsifter.params.llm import OnRefusal

KEY = "sk-very-secret-0123456789"
SAMPLING = Sampling(max_tokens=16, temperature=0.0)


def ask(text: str, sampling: Sampling = SAMPLING) -> ChatRequest:
    return ChatRequest([{"role": "user", "content": text}], sampling, question_id=text)


def client(
    base_url: str,
    cache: Path,
    *,
    concurrency: int = 4,
    max_retries: int = 3,
    timeout_s: float = 20.0,
    model: str = "m",
    revision: str = "",
    backoff_s: float = 0.001,
    on_refusal: OnRefusal = "fail",
    api_key: str = KEY,
) -> ChatClient:
    endpoint = Endpoint(base_url, model, timeout_s, api_key)
    return ChatClient(
        endpoint,
        AnswerCache(cache),
        concurrency=concurrency,
        max_retries=max_retries,
        revision=revision,
        backoff_s=backoff_s,
        on_refusal=on_refusal,
    )


async def answer_all(
    server: ScriptedServer, cache: Path, requests: list[ChatRequest], *, max_retries: int = 3, timeout_s: float = 20.0
) -> list[Answer]:
    async with client(server.base_url, cache, max_retries=max_retries, timeout_s=timeout_s) as chat:
        return only_answers(await chat.answer_all(requests))


def only_answers(outcomes: list[Answer | Refusal]) -> list[Answer]:
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    assert len(answers) == len(outcomes)
    return answers


async def test_answers_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        answers = await answer_all(server, tmp_path, [ask(f"q{number}") for number in range(20)])
    assert [answer.text for answer in answers] == [f"<answer>q{number}</answer>" for number in range(20)]
    assert answers[0] == Answer("<answer>q0</answer>", "stop", prompt_tokens=7, completion_tokens=3, cached=False)
    assert {call.path for call in server.calls} == {"/v1/chat/completions"}


async def test_a_text_prompt_goes_to_the_completions_form(tmp_path: Path) -> None:
    request = ChatRequest("Short answer:", Sampling(5, 0.5, top_p=0.9, stop=("\n",), seed=4))
    with ScriptedServer([Say(" five")]) as server:
        (answer,) = await answer_all(server, tmp_path, [request])
    assert answer.text == " five"
    (call,) = server.calls
    assert call.path == "/v1/completions"
    assert call.body == {
        "model": "m",
        "prompt": "Short answer:",
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n"],
        "seed": 4,
    }


@pytest.mark.parametrize(
    "failure",
    [
        Fail(500),
        Fail(503),
        Fail(408),
        Fail(429),
        Drop(),
        Body(b'{"choices": ['),
        Body(b"[]"),
        Body(b'"hello"'),
        Body(b'{"choices": []}'),
        Body(b'{"choices": [{"index": 0}]}'),
        Body(b"\xff\xfe"),
        Say(None),
    ],
    ids=repr,
)
async def test_a_passing_failure_is_retried(tmp_path: Path, failure: Act) -> None:
    with ScriptedServer([failure, failure]) as server:
        (answer,) = await answer_all(server, tmp_path, [ask("q")])
    assert answer.text == "<answer>q</answer>"
    assert len(server.calls) == 3


async def test_a_late_reply_is_retried(tmp_path: Path) -> None:
    with ScriptedServer([Stall(1.0)]) as server:
        (answer,) = await answer_all(server, tmp_path, [ask("q")], timeout_s=0.3)
    assert answer.text == "<answer>q</answer>"
    assert len(server.calls) == 2


async def test_a_reply_that_trickles_in_does_not_hold_a_slot_for_ever(tmp_path: Path) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        for _chunk in range(600):
            writer.write(b" ")
            await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    started = time.monotonic()
    async with server, client(f"http://127.0.0.1:{port}/v1", tmp_path, timeout_s=0.3, max_retries=0) as chat:
        with pytest.raises(MemSifterError, match=r"no reply within 0\.3 s"):
            await chat.answer(ask("q"))
    assert time.monotonic() - started < 15, "the reply trickles for half a minute"


@pytest.mark.parametrize("as_date", [False, True])
async def test_the_wait_that_the_endpoint_asks_for_is_kept(tmp_path: Path, as_date: bool) -> None:
    # HTTP dates have no fractions: 2 seconds from now are at least 1 when they arrive.
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if as_date else "1"
    started = time.monotonic()
    with ScriptedServer([Fail(429, headers={"Retry-After": value})]) as server:
        await answer_all(server, tmp_path, [ask("q")])
    assert 0.9 <= time.monotonic() - started < 15
    assert len(server.calls) == 2


async def test_a_wait_too_long_to_sit_through_is_an_error(tmp_path: Path) -> None:
    with (
        ScriptedServer([Fail(429, headers={"Retry-After": "3600"})]) as server,
        pytest.raises(MemSifterError, match="asks to wait 3600 s"),
    ):
        await answer_all(server, tmp_path, [ask("q")])
    assert len(server.calls) == 1


async def test_waits_grow_and_are_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    def draw(low: float, high: float) -> float:
        assert low == 0
        limits.append(high)
        return 0.0

    monkeypatch.setattr("memsifter.chat.client.random.uniform", draw)
    with ScriptedServer([Fail(500)] * 7) as server:
        async with client(server.base_url, tmp_path, max_retries=7, backoff_s=1.0) as chat:
            await chat.answer(ask("q"))
    assert limits == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_not_retried(tmp_path: Path, status: int) -> None:
    with ScriptedServer(then=lambda _: Fail(status, "this is why")) as server:
        with pytest.raises(MemSifterError) as caught:
            await answer_all(server, tmp_path, [ask("q")])
        assert server.base_url in str(caught.value)
    assert "this is why" in str(caught.value)
    assert f"HTTP {status}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.calls) == 1


async def test_one_bad_request_does_not_cost_the_others(tmp_path: Path) -> None:
    def behave(call: Call) -> Act:
        return Fail(400, "too long") if call.prompt in ("q3", "q7", "q8") else Say(call.prompt)

    requests = [ask(f"q{number}") for number in range(20)]
    with ScriptedServer(then=behave) as server:
        with pytest.raises(MemSifterError) as caught:
            await answer_all(server, tmp_path, requests)
        assert str(caught.value) == (
            f"chat: 3 of 20 requests to {server.base_url} failed for good (questions 'q3', 'q7', 'q8'; first: "
            "HTTP 400: too long); the 17 answers are cached, run again to send only the rest; what was refused will be "
            "refused again: change it, or set on_refusal to leave_out"
        )
    assert len(server.calls) == 20
    with ScriptedServer() as server:
        answers = await answer_all(server, tmp_path, requests)
    assert sorted(server.prompts) == ["q3", "q7", "q8"]
    assert [answer.cached for answer in answers].count(False) == 3
    assert answers[0].text == "q0"


async def test_refused_questions_are_left_out_where_the_parameters_say_so(tmp_path: Path) -> None:
    def behave(call: Call) -> Act:
        return Fail(400, "filtered", code="content_filter") if call.prompt == "q1" else Say(call.prompt)

    requests = [ask("q0"), ask("q1"), ask("q2"), ask("q1")]
    with ScriptedServer(then=behave) as server:
        async with client(server.base_url, tmp_path, on_refusal="leave_out") as chat:
            first, second, third, again = await chat.answer_all(requests)
            with pytest.raises(RefusedRequestError, match="HTTP 400: filtered"):
                await chat.answer(ask("q1"))
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert second == again == Refusal("HTTP 400: filtered")
    assert sorted(server.prompts) == ["q0", "q1", "q1", "q2"]  # refusals are not kept


async def test_a_failure_that_is_no_refusal_is_never_left_out(tmp_path: Path) -> None:
    def behave(call: Call) -> Act:
        return Fail(500) if call.prompt == "q1" else Fail(400) if call.prompt == "q2" else Say(call.prompt)

    with ScriptedServer(then=behave) as server:
        async with client(server.base_url, tmp_path, max_retries=1, on_refusal="leave_out") as chat:
            with pytest.raises(MemSifterError, match=r"2 of 3 requests .*questions 'q1', 'q2'"):
                await chat.answer_all([ask(f"q{number}") for number in range(3)])


async def test_an_endpoint_that_refuses_all_has_another_fault(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Fail(400, "temperature and top_p cannot both be given")) as server:
        async with client(server.base_url, tmp_path, on_refusal="leave_out") as chat:
            with pytest.raises(MemSifterError, match=r"2 of 2 requests .*temperature and top_p"):
                await chat.answer_all([ask("q0"), ask("q1")])


async def test_an_exhausted_quota_stops_the_batch_at_once(tmp_path: Path) -> None:
    quota = Fail(429, "You exceeded your current quota, please check your plan.", code="insufficient_quota")
    with (
        ScriptedServer(then=lambda _: quota) as server,
        pytest.raises(MemSifterError, match=r"HTTP 429: You exceeded .* and the others were given up"),
    ):
        await answer_all(server, tmp_path, [ask(f"q{number}") for number in range(200)])
    assert len(server.calls) < 50


async def test_a_reply_without_an_answer_is_retried_thrice_and_then_refused(tmp_path: Path) -> None:
    with ScriptedServer([Say(""), Say(" \n")]) as server:
        (answer,) = await answer_all(server, tmp_path / "once", [ask("q")], max_retries=10)
    assert answer.text == "<answer>q</answer>"
    with ScriptedServer(then=lambda _: Say("<think>so</think>")) as server:
        async with client(server.base_url, tmp_path / "always", max_retries=10) as chat:
            with pytest.raises(RefusedRequestError, match="no answer"):
                await chat.answer(ask("q"))
    assert len(server.calls) == 4


async def test_a_wrong_key_stops_the_batch_at_once(tmp_path: Path) -> None:
    requests = [ask(f"q{number}") for number in range(200)]
    with (
        ScriptedServer(then=lambda _: Fail(401, f"wrong key: {KEY}")) as server,
        pytest.raises(MemSifterError, match=r"\d of 200 requests .* and the others were given up; the 0 answers"),
    ):
        await answer_all(server, tmp_path, requests)
    assert len(server.calls) < 50  # what was under way when the first refusal came, and not all 200


async def test_an_endpoint_that_is_down_fails_fast(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    async with client(f"http://127.0.0.1:{port}/v1", tmp_path) as chat:
        with pytest.raises(MemSifterError, match=r" \d{1,2} of 1000 requests .* connection failed .* given up"):
            await chat.answer_all([ask(f"q{number}") for number in range(1000)])
    assert time.monotonic() - started < 30, "1000 requests with their retries would take many minutes"


async def test_an_endpoint_that_never_replies_fails_before_the_batch_is_through(tmp_path: Path) -> None:
    with (
        ScriptedServer(then=lambda _: Stall(3)) as server,
        pytest.raises(MemSifterError, match="no reply within"),
    ):
        await answer_all(server, tmp_path, [ask(f"q{number}") for number in range(100)], max_retries=0, timeout_s=0.2)
    assert len(server.calls) < 50


async def test_an_outage_in_the_middle_keeps_what_was_answered(tmp_path: Path) -> None:
    requests = [ask(f"q{number}") for number in range(30)]
    with ScriptedServer([Say("early")] * 10, then=lambda _: Drop()) as server, pytest.raises(MemSifterError) as caught:
        await answer_all(server, tmp_path, requests, max_retries=1)
    claimed = re.search(r"the (\d+) answers are cached", str(caught.value))
    assert claimed
    # Replies still on their way when the third request failed for good may be lost; never more than the concurrency.
    assert 3 <= int(claimed[1]) <= 10
    with ScriptedServer() as server:
        answers = await answer_all(server, tmp_path, requests)
    assert len(server.calls) == 30 - int(claimed[1])
    assert sum(answer.cached for answer in answers) == int(claimed[1])


async def test_a_failing_request_uses_exactly_its_tries(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Fail(500)) as server, pytest.raises(MemSifterError, match="HTTP 500"):
        await answer_all(server, tmp_path, [ask("q")], max_retries=2)
    assert len(server.calls) == 3


async def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Stall(0.05)) as server:
        async with client(server.base_url, tmp_path, concurrency=5) as chat:
            await chat.answer_all([ask(f"q{number}") for number in range(25)])
    assert server.most_at_once == 5


async def test_equal_requests_are_sent_once(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        async with client(server.base_url, tmp_path) as chat:
            answers = only_answers(await chat.answer_all([ask("a"), ask("b"), ask("a"), ask("a")]))
            singles = await asyncio.gather(*(chat.answer(ask("c")) for _ in range(10)))
    assert sorted(server.prompts) == ["a", "b", "c"]
    assert [answer.cached for answer in answers] == [False, False, True, True]
    assert {answer.text for answer in singles} == {"<answer>c</answer>"}


async def test_a_failed_duplicate_is_counted_as_often_as_it_was_asked(tmp_path: Path) -> None:
    with (
        ScriptedServer(then=lambda _: Fail(400)) as server,
        pytest.raises(MemSifterError, match=r"3 of 3 requests .*\); the 0 answers"),
    ):
        await answer_all(server, tmp_path, [ask("a"), ask("a"), ask("a")])
    assert len(server.calls) == 1


async def test_whatever_determines_the_answer_is_part_of_the_key(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        variants = [("m", "", SAMPLING), ("other", "", SAMPLING), ("m", "weights", SAMPLING)]
        variants += [("m", "", Sampling(17, 0.0)), ("m", "", Sampling(16, 0.1)), ("m", "", Sampling(16, 0.0, seed=1))]
        for model, revision, sampling in variants:
            async with client(server.base_url, tmp_path, model=model, revision=revision) as chat:
                assert not (await chat.answer(ask("q", sampling))).cached
    with ScriptedServer() as elsewhere:
        assert elsewhere.base_url != server.base_url
        (answer,) = await answer_all(elsewhere, tmp_path, [ask("q")])
        assert answer.cached
        assert elsewhere.calls == []


async def test_the_key_is_sent_and_shown_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    refusals: list[Act] = [Fail(500, KEY), Fail(429, f"{'x' * 280} {KEY}"), Fail(401, f"Incorrect API key: {KEY}")]
    with ScriptedServer(refusals) as server, pytest.raises(MemSifterError) as caught:
        await answer_all(server, tmp_path, [ask("q")])
    assert {call.authorization for call in server.calls} == {f"Bearer {KEY}"}
    assert "Incorrect API key: ***" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    with ScriptedServer() as server:
        await answer_all(server, tmp_path, [ask("q")])
    assert KEY not in repr(Endpoint(server.base_url, "m", 1.0, KEY))
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())


async def test_a_reply_that_repeats_the_key_is_kept_without_it(tmp_path: Path) -> None:
    with ScriptedServer([Say(None, message={"refusal": f"not for {KEY}"}), Say(f"you sent {KEY}")]) as server:
        async with client(server.base_url, tmp_path) as chat:
            with pytest.raises(RefusedRequestError) as caught:
                await chat.answer(ask("q"))
            assert (await chat.answer(ask("q"))).text == "you sent ***"
    assert KEY not in str(caught.value)


async def test_a_key_that_is_no_secret_may_be_a_word_of_an_answer(tmp_path: Path) -> None:
    answers = ["ollama knows none of them", "an index"]
    for key, answer in zip(("none", "x"), answers, strict=True):
        with ScriptedServer([Say(answer)]) as server:
            async with client(server.base_url, tmp_path / key, api_key=key) as chat:
                assert (await chat.answer(ask("q"))).text == answer
    endpoint = Endpoint("http://host/v1", "m", 1.0, "none")
    assert endpoint.hide_key(b"the key none is wrong", error=True) == b"the key *** is wrong"


async def test_a_password_in_the_address_is_not_shown(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Fail(400)) as server:
        url = server.base_url.replace("http://", "http://me:hidden@")
        async with client(url, tmp_path) as chat:
            with pytest.raises(MemSifterError) as caught:
                await chat.answer(ask("q"))
    assert "hidden" not in str(caught.value)
    assert server.base_url in str(caught.value)

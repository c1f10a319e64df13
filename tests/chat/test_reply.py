"""Replies that public servers give, over HTTP: each is an answer, is retried, or is the question's own failure."""

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import Act, Body, Fail, Say, ScriptedServer

from memsifter.chat.cache import AnswerCache
from memsifter.chat.client import ChatClient
from memsifter.chat.endpoint import MAX_REPLY_BYTES, ChatRequest, Endpoint, Sampling
from memsifter.chat.reply import Answer, Refusal, RefusedRequestError, RequestError, read_error, read_reply
from memsifter.errors import MemSifterError

OK = Say("<answer>x</answer>")
RETRIES = 3


async def send(server: ScriptedServer, cache: Path, *questions: str) -> list[Answer | Refusal]:
    requests = [ChatRequest([{"role": "user", "content": text}], Sampling(16, 0.0), text) for text in questions]
    endpoint = Endpoint(server.base_url, "m", 5.0, "sk-x")
    async with ChatClient(
        endpoint, AnswerCache(cache), concurrency=1, max_retries=RETRIES, backoff_s=0.001, on_refusal="leave_out"
    ) as chat:
        return await chat.answer_all(requests, progress=False)


ANSWERS: dict[str, tuple[Act, Answer]] = {
    "parts": (
        Say([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Paris"}]),
        Answer("Paris", "stop", 7, 3),
    ),
    "parts that are texts": (Say(["Par", {"type": "output_text", "text": "is"}]), Answer("Paris", "stop", 7, 3)),
    "reasoning beside the text": (
        Say("Paris", message={"reasoning_content": "Rome?", "refusal": None, "tool_calls": []}),
        Answer("Paris", "stop", 7, 3),
    ),
    "cut, but there is an answer": (Say("<answer>The ol", "length"), Answer("<answer>The ol", "length", 7, 3)),
    "half of a surrogate pair": (
        Body(b'{"choices":[{"message":{"content":"a parrot \\ud83e"},"finish_reason":"st\\udc00op"}]}'),
        Answer("a parrot \ufffd", "st\ufffdop", None, None),
    ),
    "a zero character": (Body(b'{"choices":[{"message":{"content":"x\\u0000y"}}]}'), Answer("x\0y", None, None, None)),
    "usage that is none": (Say("Paris", reply={"usage": [1]}), Answer("Paris", "stop", None, None)),
    "usage as floats and text": (
        Say("Paris", reply={"usage": {"prompt_tokens": 7.0, "completion_tokens": "3"}}),
        Answer("Paris", "stop", 7, None),
    ),
    "usage that no file can hold": (
        Say("Paris", reply={"usage": {"prompt_tokens": 2**40, "completion_tokens": -1}}),
        Answer("Paris", "stop", None, None),
    ),
    "an error that is none": (Say("Paris", reply={"error": None}), Answer("Paris", "stop", 7, 3)),
    "gzip": (
        Body(
            gzip.compress(b'{"choices":[{"message":{"content":"Paris"},"finish_reason":"stop"}]}'),
            {"Content-Encoding": "gzip"},
        ),
        Answer("Paris", "stop", None, None),
    ),
}


@pytest.mark.parametrize(("act", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer(act: Act, expected: Answer, tmp_path: Path) -> None:
    with ScriptedServer([act]) as server:
        assert await send(server, tmp_path, "q") == [expected]
        (again,) = await send(server, tmp_path, "q")
    assert isinstance(again, Answer)
    assert (again.text, again.cached) == (expected.text, True)
    assert len(server.calls) == 1


TRANSIENT: dict[str, Act] = {
    "an error with status 200": Body(b'{"id":"g","error":{"message":"upstream disconnected","code":502}}'),
    "an error as text": Body(b'{"error":"busy"}'),
    "an error in the middle": Say("<answer>The ol", "error", choice={"error": {"code": 502, "message": "gone"}}),
    "finish_reason error": Say("<answer>The ol", "error"),
    "a web page": Body(b"<!doctype html><html><title>Open WebUI</title></html>"),
    "a stream": Body(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'),
    "a finish_reason that is a list": Say("Paris", ["stop"]),
    "a content that is a number": Body(b'{"choices":[{"message":{"content":5}}]}'),
    "a part that is a number": Say([5]),
    "deep nesting": Body(b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a number of 5,000 digits": Body(b'{"choices":[{"message":{"content":"x"}}],"usage":' + b"9" * 5000 + b"}"),
    "gzip that is none": Body(b"no gzip", {"Content-Encoding": "gzip"}),
    "cut gzip": Body(gzip.compress(b'{"choices":[]}')[:-12], {"Content-Encoding": "gzip"}),
    "no text and no reason": Say(None, "stop", message={"reasoning_content": "thoughts"}),
    "a rate limit": Fail(429, "You exceeded your current quota of requests per minute"),
    "an overloaded server": Fail(529),
}


@pytest.mark.parametrize("act", TRANSIENT.values(), ids=TRANSIENT)
async def test_a_failure_that_may_pass_is_retried(act: Act, tmp_path: Path) -> None:
    with ScriptedServer([act, act]) as server:
        (answer,) = await send(server, tmp_path, "q")
    assert isinstance(answer, Answer)
    assert answer.text == "<answer>q</answer>"
    assert len(server.calls) == 3


REFUSED: dict[str, tuple[Act, str]] = {
    "a refusal": (Say(None, message={"refusal": "I cannot help"}), "I cannot help"),
    "a refusal as a part": (Say([{"type": "refusal", "refusal": "I cannot"}]), "I cannot"),
    "filtered": (Say(None, "content_filter"), "content_filter"),
    "filtered, an empty text": (Say("", "content_filter"), "content_filter"),
    "filtered in the middle": (Say("<answer>The ol", "content_filter"), "content_filter"),
    "filtered before it was read": (
        Fail(400, "The response was filtered due to the prompt triggering content management policy."),
        "HTTP 400: The response was filtered",
    ),
    "flagged": (Fail(403, "Your input was flagged", code=403), "HTTP 403: Your input was flagged"),
    "too long": (
        Body(b'{"error":{"message":"Provider returned error: context window exceeded","code":400}}'),
        "HTTP 400: Provider returned error: context window exceeded",
    ),
    "a router's provider": (
        Body(b'{"error":{"message":"Provider error","code":400,"metadata":{"raw":"prompt is too long"}}}', status=400),
        "HTTP 400: Provider error: prompt is too long",
    ),
    "all tokens thought": (Say(None, "length", message={"reasoning_content": "long"}), "raise max_tokens"),
    "all tokens thought in the text": (Say("<think>long", "length"), "raise max_tokens"),
    "a bad request as a list": (Body(b'[{"error":{"message":"no","code":400}}]', status=400), "HTTP 400: no"),
    "a bad request as text": (Body(b"no", status=400), "HTTP 400: no"),
}


@pytest.mark.parametrize(("act", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_questions_own_failure_is_told_at_once_and_spares_the_others(
    act: Act, reason: str, tmp_path: Path
) -> None:
    with ScriptedServer(then=lambda call: act if call.prompt == "q1" else OK) as server:
        first, refused, last = await send(server, tmp_path, "q0", "q1", "q2")
        assert isinstance(first, Answer)
        assert isinstance(last, Answer)
        assert isinstance(refused, Refusal)
        assert reason in refused.reason
        assert len(server.calls) == 3
        # Nothing of it was kept.
        assert isinstance((await send(server, tmp_path, "q0", "q1"))[1], Refusal)
        assert len(server.calls) == 4


BOMB = gzip.compress(b" " * (MAX_REPLY_BYTES + 1))
ENDPOINT: dict[str, tuple[Act, str]] = {
    "no quota": (Fail(429, "You exceeded your current quota", code="insufficient_quota"), "HTTP 429: You exceeded"),
    "no credit": (Fail(402, "Insufficient Balance"), "HTTP 402"),
    "no credit, as a bad request": (Fail(400, "Your credit balance is too low"), "HTTP 400: Your credit"),
    "no such model": (Fail(400, "no", code="model_not_found"), "HTTP 400"),
    "another length parameter": (
        Fail(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
        "Use 'max_completion_tokens'",
    ),
    "no other temperature": (Fail(400, "Unsupported value: 'temperature' does not support 0."), "temperature"),
    "a redirect": (
        Fail(307, headers={"Location": "https://me:hidden@evil.example/v1?key=hidden"}),
        "HTTP 307: it redirects to https://evil.example; correct base_url",
    ),
    "a redirect within": (Fail(301, headers={"Location": "/v2/chat"}), "HTTP 301: it redirects to another path"),
    "no redirect": (Fail(304), "HTTP 304"),
    "a bomb": (Body(BOMB, {"Content-Encoding": "gzip"}), "larger than 32 MiB"),
    "a bomb as an error": (Body(BOMB, {"Content-Encoding": "gzip"}, 500), "larger than 32 MiB"),
    "too large": (Body(b" " * (MAX_REPLY_BYTES + 1)), "larger than 32 MiB"),
    "another compression": (Body(b"x", {"Content-Encoding": "br"}), "compressed as 'br'"),
}


@pytest.mark.parametrize(("act", "reason"), ENDPOINT.values(), ids=ENDPOINT)
async def test_a_failure_of_every_question_stops_at_once(act: Act, reason: str, tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: act) as server:
        with pytest.raises(MemSifterError) as caught:
            await send(server, tmp_path, "q0", "q1", "q2", "q3", "q4", "q5")
        assert not isinstance(caught.value, RefusedRequestError)
    assert reason in str(caught.value)
    assert "given up" in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert len(server.calls) <= 2


async def test_a_redirect_takes_no_prompt_to_another_host(tmp_path: Path) -> None:
    with ScriptedServer() as elsewhere:
        redirect = Fail(307, headers={"Location": f"{elsewhere.base_url}/chat/completions"})
        with ScriptedServer(then=lambda _: redirect) as server, pytest.raises(MemSifterError, match="redirects to"):
            await send(server, tmp_path, "q")
        assert elsewhere.calls == []


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "text", "type", "refusal", "finish_reason", "error", "usage", "code"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from(["chat", "completion"]))
def test_no_reply_is_more_than_an_answer_or_a_failure(value: Any, form: Any) -> None:
    for body in (json.dumps(value), json.dumps({"choices": [{"message": value, "text": value}]})):
        with suppress(RequestError):
            answer = read_reply(body.encode(), form)
            assert answer.text.strip()
            answer.text.encode()  # a file can hold it


@settings(max_examples=200, deadline=None)
@given(st.integers(300, 599), st.binary(max_size=40) | JSON.map(lambda value: json.dumps({"error": value}).encode()))
def test_every_error_has_a_kind_and_one_line(status: int, body: bytes) -> None:
    error = read_error(status, body)
    assert error.kind in ("transient", "refused", "endpoint")
    assert "\n" not in str(error)
    assert len(str(error)) < 400

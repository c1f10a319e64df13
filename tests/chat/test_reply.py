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
from server_faults import ENDPOINT, REFUSED, TRANSIENT

from memsifter.chat.cache import AnswerCache
from memsifter.chat.client import ChatClient
from memsifter.chat.endpoint import ChatRequest, Endpoint, Sampling
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


@pytest.mark.parametrize("name", sorted(TRANSIENT.keys() - {"late"}))  # that one is a matter of the time limit
async def test_a_failure_that_may_pass_is_retried(name: str, tmp_path: Path) -> None:
    act = TRANSIENT[name]
    with ScriptedServer([act, act]) as server:
        (answer,) = await send(server, tmp_path, "q")
    assert isinstance(answer, Answer)
    assert answer.text == "<answer>q</answer>"
    assert len(server.calls) == 3


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

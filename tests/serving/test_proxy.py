import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from running_app import Client
from scripted_server import Act, Body, Drop, Fail, Say, ScriptedServer, Stall, Stream

Serve = Callable[..., Client]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"


def test_the_endpoints_own_errors_come_through(serve: Serve) -> None:
    refusals = [
        Fail(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        Fail(429, "Rate limit reached", headers={"Retry-After": "7"}),
        Fail(503, "overloaded"),
    ]
    with ScriptedServer(refusals * 2) as llm:
        client = serve(llm_url=llm.base_url)
        for streamed in (False, True):
            for refusal in refusals:
                reply = client.post(PATH, CHAT | {"stream": streamed})
                assert reply.status_code == refusal.status
                assert reply.json()["error"]["message"] == refusal.message
                assert reply.json()["error"]["code"] == refusal.code
                assert reply.headers.get("Retry-After") == refusal.headers.get("Retry-After")


def test_an_endpoint_that_fails_is_named(serve: Serve) -> None:
    acts: list[Act] = [Drop(), Stall(1.5), Body(b"", {"Location": "http://127.0.0.1:1/"}, 307)]
    with ScriptedServer(acts) as llm:
        client = serve(llm_url=llm.base_url, llm_seconds=0.5)
        said = []
        for status in (502, 504, 502):
            reply = client.post(PATH, CHAT)
            assert reply.status_code == status
            assert reply.json()["error"] | {"message": ""} == {
                "message": "",
                "type": "server_error",
                "code": "llm_failed",
            }
            said.append(reply.json()["message"])
    assert said[0].startswith(f"the LLM at {llm.base_url} cannot be reached")
    assert said[1:] == [
        f"the LLM at {llm.base_url} gave no answer within 0.5 s",
        f"the LLM at {llm.base_url} redirects; correct --llm-url",
    ]
    reply = client.post(PATH, CHAT)  # nobody listens there any more
    assert reply.status_code == 502


def test_a_stream_that_breaks_off_ends_with_an_error(serve: Serve) -> None:
    choice = {"index": 0, "delta": {"content": "The ol"}, "finish_reason": None}
    event = json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]})
    with ScriptedServer([Stream((event,), cut=True)]) as llm:
        client = openai.OpenAI(base_url=f"{serve(llm_url=llm.base_url).base_url}/v1", api_key="none", max_retries=0)
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
        said: list[str | None] = []
        with pytest.raises(openai.APIError, match="broke off"):
            said.extend(part.choices[0].delta.content for part in stream)
    assert said in ([], ["The ol"])


def test_the_key_of_the_endpoint_stays_here_and_that_of_the_client_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_API_KEY", "sk-client")
    monkeypatch.setenv("LLM_KEY", "sk-endpoint")
    with ScriptedServer([Fail(401, "Incorrect API key provided: sk-endpoint"), Say("hi")]) as llm:
        client = serve(llm_url=llm.base_url, llm_key_env="LLM_KEY")
        headers = {"Authorization": "Bearer sk-client"}
        refused = client.post(PATH, CHAT, headers=headers)
        assert refused.json()["error"]["message"] == "Incorrect API key provided: ***"
        assert client.post(PATH, CHAT, headers=headers).status_code == 200
    assert {call.authorization for call in llm.calls} == {"Bearer sk-endpoint"}


def test_a_server_without_an_llm_says_so(client: Client) -> None:
    reply = client.post(PATH, CHAT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_chats_have_a_queue_of_their_own(serve: Serve) -> None:
    with ScriptedServer(then=lambda _: Stall(0.7)) as llm, ThreadPoolExecutor(4) as pool:
        client = serve(llm_url=llm.base_url, chats=2)
        statuses = sorted(reply.status_code for reply in pool.map(lambda _: client.post(PATH, CHAT), range(4)))
        assert statuses == [200, 200, 429, 429]
        assert client.post("/v1/rerank", {"query": "x", "documents": ["a"]}).status_code == 200

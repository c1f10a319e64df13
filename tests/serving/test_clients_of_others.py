"""Clients that nobody here wrote."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cohere
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from mcp import Client as McpClient
from mcp import StdioServerParameters
from running_app import SESSIONS, Client
from schemathesis.checks import not_a_server_error
from scripted_server import Say, ScriptedServer, Stream

Serve = Callable[..., Client]
TEXTS = [session["turns"][0]["content"] for session in SESSIONS]
QUESTION = "What is my cat called?"


def chunk(text: str) -> str:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]})


def open_openai(client: Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0)


def test_openai_streams_through_the_proxy_as_the_answer_is_written(serve: Serve) -> None:
    words = ["Your ", "cat ", "is ", "Momo."]
    with ScriptedServer([Stream((*map(chunk, words), "[DONE]"), pause_s=0.2)]) as llm:
        client = open_openai(serve(llm_url=llm.base_url, llm_model="served"))
        messages: list[Any] = [{"role": "system", "content": "Be brief."}]
        for text in TEXTS:
            messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "I see."}]
        messages.append({"role": "user", "content": QUESTION})
        options = {"memsifter": {"top_k": 1, "recent": 0}}
        arrived, said = [], []
        stream = client.chat.completions.create(
            model="m", messages=messages, stream=True, temperature=0.5, extra_body=options
        )
        for part in stream:
            arrived.append(time.monotonic())
            said.append(part.choices[0].delta.content)
    assert said == words
    assert arrived[-1] - arrived[0] > 0.4
    [call] = llm.calls
    assert call.body["messages"] == [messages[0], *messages[1:3], messages[-1]]
    assert (call.body["model"], call.body["temperature"], call.body["stream"]) == ("served", 0.5, True)
    assert "memsifter" not in call.body


def test_openai_reads_a_whole_answer_and_what_was_kept(serve: Serve) -> None:
    with ScriptedServer([Say("Momo")]) as llm:
        client = open_openai(serve(llm_url=llm.base_url))
        raw = client.chat.completions.with_raw_response.create(
            model="mine", messages=[{"role": "user", "content": QUESTION}]
        )
    assert raw.parse().choices[0].message.content == "Momo"
    assert raw.headers["x-memsifter-messages"] == "1/1"
    assert llm.calls[0].body == {"model": "mine", "messages": [{"role": "user", "content": QUESTION}]}


def test_cohere_reranks(client: Client) -> None:
    two = cohere.ClientV2(api_key="none", base_url=client.base_url)
    best = two.rerank(model="any", query=QUESTION, documents=TEXTS, top_n=2)
    assert best.results[0].index == 0
    assert len(best.results) == 2
    one = cohere.Client(api_key="none", base_url=client.base_url)
    documents: Any = [{"text": text} for text in TEXTS]
    found = one.rerank(query=QUESTION, documents=documents, return_documents=True)
    assert found.results[0].document is not None
    assert found.results[0].document.text == TEXTS[0]
    with pytest.raises(cohere.errors.UnprocessableEntityError):
        two.rerank(model="any", query=" ", documents=TEXTS)


async def test_an_mcp_client_lists_and_calls_the_tool_over_http(serve: Serve, tmp_path: Path) -> None:
    client = serve(memory=tmp_path / "memory.sqlite", user="ann")
    async with McpClient(f"{client.base_url}/mcp") as mcp:
        [tool] = (await mcp.list_tools()).tools
        assert tool.name == "search_memory"
        assert "past conversations" in (tool.description or "")
        assert set(tool.input_schema["properties"]) == {"question", "question_date", "top_k", "min_score"}
        found = await mcp.call_tool("search_memory", {"question": QUESTION, "top_k": 1})
        assert found.structured_content is not None
        [session] = found.structured_content["sessions"]
        assert (session["id"], session["excerpt"]) == ("cat", f"user: {TEXTS[0]}")
        for arguments in ({"question": " "}, {"question": "x", "top_k": 0}, {}):
            assert (await mcp.call_tool("search_memory", arguments)).is_error


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_an_mcp_client_starts_the_command(tmp_path: Path, tiny_embedder: Path) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text("".join(json.dumps(session) + "\n" for session in SESSIONS))
    arguments = ["mcp", "--memory", str(tmp_path / "m.sqlite"), "--user", "ann", "--add", str(history)]
    arguments += ["--embedder", str(tiny_embedder), "--no-cache"]
    command = StdioServerParameters(command=sys.executable, args=["-m", "memsifter", *arguments])
    async with McpClient(command) as mcp:
        assert [tool.name for tool in (await mcp.list_tools()).tools] == ["search_memory"]
        found = await mcp.call_tool("search_memory", {"question": QUESTION})
    assert found.structured_content is not None
    assert {session["id"] for session in found.structured_content["sessions"]} == {"cat", "bike", "soup"}


@pytest.mark.slow
def test_schemathesis_finds_no_error_of_the_server(serve: Serve) -> None:
    with ScriptedServer(then=lambda _: Say("Momo")) as llm:
        client = serve(llm_url=llm.base_url)
        schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        tried = 0

        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(base_url=client.base_url, checks=[not_a_server_error])

        for found in schema.get_all_operations():
            run_property(found.ok(), check)  # type: ignore[union-attr]
    assert tried > 200


def run_property(operation: Any, check: Callable[[Any], None]) -> None:
    """Check made-up requests of one operation."""
    many = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    many(given(case=operation.as_strategy())(check))()

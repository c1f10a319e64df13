import math
from pathlib import Path
from typing import Any

import pytest
from running_app import SESSIONS, Client

from bench.memory import HashedEncoder
from memsifter.corpus.sessions import Haystack, Question
from memsifter.datasets import read_dataset
from memsifter.sifter.sifter import Sifter

TEXTS = ["How do I cook lentils?", "My cat Momo is ill.", "I bought a red bicycle in Turin."]
QUESTION = "What is my cat called?"


@pytest.mark.parametrize(("path", "version"), [("/v1/rerank", "1"), ("/v2/rerank", "2"), ("/rerank", "1")])
def test_rerank_orders_documents_on_the_paths_of_all_clients(client: Client, path: str, version: str) -> None:
    reply = client.post(path, {"model": "m", "query": QUESTION, "documents": TEXTS, "priority": 3}).json()
    results = reply["results"]
    assert sorted(item["index"] for item in results) == [0, 1, 2]
    assert results[0]["index"] == 1
    shares = [item["relevance_score"] for item in results]
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= share <= 1 for share in shares)
    assert reply["model"] == "m"
    assert reply["meta"]["api_version"]["version"] == version
    assert reply["usage"]["total_tokens"] > 10
    assert all("document" not in item for item in results)


def test_a_relevance_is_the_logistic_of_the_score_of_sift(client: Client) -> None:
    sessions = [{"turns": [{"role": "user", "content": text}]} for text in TEXTS]
    found = client.post("/v1/sift", {"question": QUESTION, "sessions": sessions}).json()["sessions"]
    results = client.post("/v1/rerank", {"query": QUESTION, "documents": TEXTS}).json()["results"]
    assert [item["index"] for item in results] == [item["index"] for item in found]
    for result, session in zip(results, found, strict=True):
        assert result["relevance_score"] == pytest.approx(1 / (1 + math.exp(-session["score"])))


def test_documents_are_texts_or_objects_and_come_back_if_asked_for(client: Client) -> None:
    mixed = [TEXTS[0], {"text": TEXTS[1], "title": "of no effect"}, {"text": TEXTS[2]}]
    asked = {"query": QUESTION, "documents": mixed, "top_n": 1, "return_documents": True}
    assert client.post("/v1/rerank", asked).json()["results"][0]["document"] == {"text": TEXTS[1]}
    assert len(client.post("/v1/rerank", asked | {"top_n": 0}).json()["results"]) == 3
    assert len(client.post("/v1/rerank", asked | {"top_n": 50}).json()["results"]) == 3


def test_sift_gives_what_the_library_gives(client: Client) -> None:
    with Sifter(HashedEncoder()) as sifter:
        for options in ({}, {"top_k": 1}, {"min_score": 0.5}, {"question_date": "2024-05-21", "top_k": 2}):
            expected = sifter.sift(QUESTION, SESSIONS, **options)
            reply = client.post("/v1/sift", {"question": QUESTION, "sessions": SESSIONS, **options})
            found = reply.json()["sessions"]
            assert [tuple(item.values()) for item in found] == [
                (item.index, item.id, item.date, item.score, item.excerpt, item.thought) for item in expected
            ]


def test_all_forms_of_sessions_are_taken(client: Client) -> None:
    messages = [{"role": "user", "content": TEXTS[1], "timestamp": "2024-05-20T10:00:00Z"}]
    later = [{"role": "user", "content": TEXTS[0], "timestamp": 1_716_300_000.5}]
    for sessions in ([messages, later], [{"messages": messages}, {"id": "b", "messages": later}], messages + later):
        reply = client.post("/v1/sift", {"question": QUESTION, "sessions": sessions})
        assert reply.status_code == 200, reply.text
        assert reply.json()["sessions"][0]["excerpt"] == f"user: {TEXTS[1]}"


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/v1/rerank", {"query": "x"}, "documents: Field required"),
        ("/v1/rerank", {"query": " ", "documents": ["a"]}, "query: "),
        ("/v1/rerank", {"query": "x", "documents": []}, "documents: "),
        ("/v1/rerank", {"query": "x", "documents": ["a", " "]}, "documents[1]"),
        ("/v1/rerank", {"query": "x", "documents": ["a", "\ufdd0\x00"]}, ""),
        ("/v1/sift", {"question": "x", "sessions": "y"}, "sessions: "),
        ("/v1/sift", {"question": "x", "sessions": [{"turns": 1}]}, "sessions[0]: field 'turns': expected a list"),
        ("/v1/sift", {"question": "x", "sessions": SESSIONS, "top_k": 0}, "top_k: "),
        ("/v1/sift", {"question": "x", "sessions": [SESSIONS[0]] * 2}, "ids must be unique"),
        ("/v1/sift", {"question": "x", "sessions": [{"role": "user", "content": "a"}]}, "none has a time"),
    ],
)
def test_what_is_wrong_is_one_message(client: Client, path: str, body: dict[str, Any], problem: str) -> None:
    reply = client.post(path, body)
    if reply.status_code == 200:
        assert problem == ""
        return
    assert reply.status_code == 422
    error = reply.json()
    assert problem in error["message"]
    assert error["error"] == {"message": error["message"], "type": "invalid_request_error", "code": "wrong_field"}


def test_the_page_and_the_schema_describe_every_field(client: Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert "swagger" in client.get("/docs").text
    schema = client.get("/openapi.json").json()
    assert {"/v1/rerank", "/v1/sift", "/v1/chat/completions", "/health", "/ready", "/metrics"} <= set(schema["paths"])
    for name, model in schema["components"]["schemas"].items():
        for field, value in model.get("properties", {}).items():
            assert value.keys() & {"description", "$ref"}, f"{name}.{field}"


@pytest.mark.slow
@pytest.mark.parametrize("conversation", [0])
def test_on_locomo_http_gives_what_the_library_gives(client: Client, shared_data: Path, conversation: int) -> None:
    """`Sifter.sift` itself equals the stages there: tests/sifter/test_sifter.py."""
    records = list(read_dataset("locomo", path=str(shared_data / "locomo" / "locomo6.json")))
    haystack = [record for record in records if isinstance(record, Haystack)][conversation]
    asked = [r for r in records if isinstance(r, Question) and r.haystack_id == haystack.haystack_id][:40]
    sessions = [
        {"id": s.session_id, "date": s.date, "turns": [{"role": t.role, "content": t.content} for t in s.turns]}
        for s in haystack.sessions
    ]
    with Sifter(HashedEncoder()) as sifter:
        for question in asked:
            expected = sifter.sift(question.question, haystack.sessions, question.question_date, 1000)
            body = {"question": question.question, "sessions": sessions, "question_date": question.question_date}
            reply = client.post("/v1/sift", body | {"top_k": 1000}).json()["sessions"]
            assert [(item["id"], item["score"]) for item in reply] == [(item.id, item.score) for item in expected]

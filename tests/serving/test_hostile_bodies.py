import json
import time
from collections.abc import Callable

import pytest
from running_app import Client
from scripted_server import Say, ScriptedServer

ASKED = {"query": "x", "documents": ["a"]}
CHAT = b'{"messages": [{"role": "user", "content": "x"}], '
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "deep": b'{"query": "x", "documents": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "NaN": b'{"query": "x", "documents": ["a"], "top_n": NaN, "question": "x", "sessions": [[]], "min_score": NaN}',
    "infinite": b'{"question": "x", "sessions": [[]], "min_score": 1e999, "query": "x", "documents": [1e999]}',
    "digits": b'{"query": "x", "documents": ["a"], "question": "x", "sessions": [[]], "top_n": ' + b"9" * 5000 + b"}",
    "large number": b'{"query": "x", "documents": ["a"], "sessions": [[]], "top_k": 1e300, "top_n": 1'
    + b"0" * 400
    + b"}",
    "not UTF-8": b'{"query": "\xff", "documents": ["a"], "question": "\xff"}',
    "UTF-16": json.dumps(ASKED).encode("utf-16"),
    "half a pair": rb'{"query": "\ud800", "documents": ["a"], "question": "\ud800", "sessions": [["a"]]}',
    "half a pair in a session": rb'{"question": "x", "sessions": [{"id": "\udc00", "turns": []}], "\ud801": 1}',
    "half a pair as a key": rb'{"query": "x", "documents": [{"\udfff": "a"}], "sessions": [{"\udfff": 1}]}',
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "wrong types": b'{"query": 5, "documents": {"a": 1}, "question": [], "sessions": true, "messages": 3}',
    "wrong items": b'{"query": "x", "documents": [null, 5, [], {}], "question": "x", "sessions": [null, 5]}',
    "wrong turns": b'{"query": "x", "documents": [{"text": 5}], "question": "x", "sessions": [{"turns": [5]}]}',
    "wrong messages": b'{"query": "", "documents": [], "question": "x", "sessions": [{"messages": {"a": []}}, [[[]]]]}',
    "a million sessions": b'{"query": "x", "question": "x", "sessions": [' + b"[]," * 999_999 + b"[]]}",
    "a million documents": b'{"query": "x", "question": "x", "documents": [' + b'"a",' * 999_999 + b'"a"]}',
    "a million messages": b'{"query": "x", "messages": [' + b"{}," * 999_999 + b"{}]}",
    "many keys": b'{"query": "x", "sessions": [{' + b",".join(b'"%d": 1' % i for i in range(200_000)) + b"}]}",
    "too large": b'{"query": "' + b"x" * (9 * 2**20) + b'"}',
    "a chat with an infinite number": CHAT + b'"temperature": 1e999}',
    "a chat with a wrong role": b'{"messages": [{"role": {}, "content": "x"}, {"role": []}, {}]}',
    "a chat with half a pair": CHAT + rb'"user": "\ud800"}',
    "a chat with wrong options": CHAT + b'"memsifter": {"top_k": 0, "recent": -1}}',
    "a chat with a wrong message": b'{"messages": [{"role": "user", "content": 5}], "memsifter": {"recent": 0}}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_the_clients_fault(serve: Callable[..., Client], name: str) -> None:
    with ScriptedServer(then=lambda _: Say("never asked")) as llm:
        client = serve(llm_url=llm.base_url)
        for path in ("/v1/rerank", "/v1/sift", "/v1/chat/completions"):
            started = time.monotonic()
            reply = client.post(path, HOSTILE[name])
            assert 400 <= reply.status_code < 500, f"{path}: {reply.status_code} {reply.text[:300]}"
            assert len(reply.json()["message"]) <= 1000
            assert time.monotonic() - started < 10
        assert client.post("/v1/rerank", ASKED).status_code == 200
    assert llm.calls == []

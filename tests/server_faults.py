"""Every way in which a server was seen to fail, or might, for tests and for `python -m bench.faults servers`."""

import gzip
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Mapping

from scripted_server import Act, Body, Call, Drop, Fail, Say, Stall, completion_body

from memsifter.chat.transport import MAX_REPLY_BYTES

WHOLE = completion_body(Say("fact2 fact6"), chat=True)
# Every way to fail that may pass.
TRANSIENT: dict[str, Act] = {
    "500": Fail(500),
    "503": Fail(503),
    "529": Fail(529),
    "408": Fail(408),
    "409": Fail(409),
    "425": Fail(425),
    "rate limit": Fail(429, headers={"Retry-After": "0.1"}),
    "500 that mentions a filter": Fail(500, "the content filter is down"),
    "no reply": Drop(),
    "late": Stall(0.8),
    "cut JSON": Body(WHOLE[:-40]),
    "cut gzip": Body(gzip.compress(WHOLE)[:-40], {"Content-Encoding": "gzip"}),
    "not gzip": Body(WHOLE, {"Content-Encoding": "gzip"}),
    "another JSON": Body(b"[]"),
    "not UTF-8": Body(b"\xff" + WHOLE),
    "web page": Body(b"<html></html>"),
    "stream": Body(b"data: " + WHOLE),
    "deep": Body(b"[" * 100_000),
    "no choice": Body(b'{"choices": []}'),
    "no message": Body(b'{"choices": [{"index": 0}]}'),
    "error with status 200": Body(b'{"error": {"message": "gone", "code": 502}}'),
    "error as text": Body(b'{"error": "gone"}'),
    "error in the middle": Say("fact2", "error", choice={"error": {"message": "gone"}}),
    "finish_reason error": Say("fact2", "error"),
    "finish_reason list": Say("fact2", ["stop"]),
    "content number": Say("x", message={"content": 7}),
    "empty": Say(""),
    "null": Say(None),
    "reasoning alone": Say(None, message={"reasoning_content": "fact2 fact6"}),
    "thoughts alone": Say("<think>fact2 fact6</think>"),
    "parts without text": Say([{"type": "thinking", "text": "fact2 fact6"}]),
    "an error of a router with status 200": Body(b'{"id":"g","error":{"message":"upstream disconnected","code":502}}'),
    "an error with a code in the middle": Say(
        "<answer>The ol", "error", choice={"error": {"code": 502, "message": "gone"}}
    ),
    "a web page": Body(b"<!doctype html><html><title>Open WebUI</title></html>"),
    "a stream": Body(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'),
    "a finish_reason that is a list": Say("Paris", ["stop"]),
    "a content that is a number": Body(b'{"choices":[{"message":{"content":5}}]}'),
    "a part that is a number": Say([5]),
    "deep nesting": Body(b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a number of 5,000 digits": Body(b'{"choices":[{"message":{"content":"x"}}],"usage":' + b"9" * 5000 + b"}"),
    "gzip that is none": Body(b"no gzip", {"Content-Encoding": "gzip"}),
    "cut gzip of another reply": Body(gzip.compress(b'{"choices":[]}')[:-12], {"Content-Encoding": "gzip"}),
    "no text and no reason": Say(None, "stop", message={"reasoning_content": "thoughts"}),
    "a rate limit": Fail(429, "You exceeded your current quota of requests per minute"),
}
# A question's own failure, and what the message says of it.
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
BOMB = gzip.compress(b" " * (MAX_REPLY_BYTES + 1))
# Failures of every question.
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


def failing(
    prompts: Iterable[str],
    answer: Callable[[Call], Act],
    faults: Mapping[str, Act] = TRANSIENT,
    seed: int = 11,
) -> tuple[Callable[[Call], Act], list[Act]]:
    """A server that fails the first tries of many requests, in every way; and the list of its failures.

    Which requests fail how does not depend on the order in which they come.
    """
    rng, lock = random.Random(seed), threading.Lock()
    ways = itertools.cycle(faults.values())
    planned = {prompt: [next(ways) for _ in range(rng.choice((0, 0, 0, 1, 2)))] for prompt in sorted(set(prompts))}
    failures: list[Act] = []

    def act(call: Call) -> Act:
        with lock:
            if planned[call.prompt]:
                failures.append(planned[call.prompt].pop(0))
                return failures[-1]
        return answer(call)

    return act, failures

"""The HTTP client below an endpoint: no redirects, no retries, and every reply read whole but none without end."""

import zlib
from typing import Any

import openai

from memsifter.chat.reply import RequestError

_CONNECT_TIMEOUT_S = 10.0
MAX_REPLY_BYTES = 32 * 2**20


def open_client(base_url: str, api_key: str, timeout_s: float, *, proxies: bool) -> openai.AsyncOpenAI:
    """A client for use in one event loop.

    Args:
        base_url: the endpoint's address.
        api_key: sent with every request.
        timeout_s: the longest silence of the connection.
        proxies: whether the proxies that the environment names are used.
    """
    timeout = openai.Timeout(timeout_s, connect=min(_CONNECT_TIMEOUT_S, timeout_s))
    http_client = _BoundedHttpClient(
        timeout=timeout,
        # A redirect would post the prompt to another host and take that one's answer.
        follow_redirects=False,
        trust_env=proxies,
        headers={"Accept-Encoding": "gzip"},
    )
    return openai.AsyncOpenAI(
        base_url=base_url, api_key=api_key, max_retries=0, timeout=timeout, http_client=http_client
    )


class _BoundedHttpClient(openai.DefaultAsyncHttpxClient):
    """An HTTP client that reads every reply whole, and none beyond `MAX_REPLY_BYTES`, compressed or not."""

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:  # noqa: ARG002 - the base's
        response = await super().send(request, stream=True, **options)
        try:
            body = await _read_bounded(response)
        finally:
            await response.aclose()
        aside = ("content-encoding", "content-length", "transfer-encoding")
        headers = [item for item in response.headers.multi_items() if item[0].lower() not in aside]
        return type(response)(response.status_code, headers=headers, content=body, request=request)


async def _read_bounded(response: Any) -> bytes:
    """A reply's body, decompressed.

    Raises:
        RequestError: it is too large, or compressed in a way that was not requested.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise RequestError("endpoint", f"the reply is compressed as {encoding[:20]!r}, which was not requested")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        try:
            body += decoder.decompress(chunk, MAX_REPLY_BYTES + 1 - len(body)) if decoder else chunk
        except zlib.error:
            raise RequestError("transient", "the reply is not valid gzip") from None
        if len(body) > MAX_REPLY_BYTES:
            raise RequestError("endpoint", f"the reply is larger than {MAX_REPLY_BYTES // 2**20} MiB")
    return bytes(body)

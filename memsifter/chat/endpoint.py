"""What is asked of the working LLM and what it answers."""

import asyncio
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import openai

from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_json
from memsifter.llm.prompts import Message

LOCAL = "local"  # the `chat.base_url` of a model that is served here
_KEY_VERSION = 1  # raise it when the meaning of a cached answer changes


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the answer is decoded. `seed` null leaves it to the endpoint."""

    max_tokens: int
    temperature: float
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request: chat messages, or one text for the raw completion form."""

    prompt: str | Sequence[Message]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote.

    Attributes:
        text: the output as it came.
        finish_reason: "stop", "length" or what else the endpoint reports.
        prompt_tokens: as the endpoint counts them; None if it does not say.
        completion_tokens: likewise.
        cached: True if it was not asked for anew.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which weights answer, wherever they are served.

    Attributes:
        model: the name that the endpoint knows.
        revision: what tells models of one name apart: the hash of a local model's weights, or a remote one's address.
    """

    model: str
    revision: str = ""


def request_key(identity: ModelIdentity, request: ChatRequest) -> str:
    """Hex SHA-256 of everything that determines the answer."""
    prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
    return sha256_json(
        {"version": _KEY_VERSION, **asdict(identity), "prompt": prompt, "sampling": asdict(request.sampling)}
    )


_CONNECT_TIMEOUT_S = 10.0
_REASON_CHARS = 300
_TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_ENDPOINT_WIDE = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
)

Kind = Literal["transient", "unreachable", "request", "endpoint"]


class RequestError(Exception):
    """A request got no answer.

    Attributes:
        kind: "transient" and "unreachable" (no connection, or no reply in time) are worth another try; "request"
            condemns this request, "endpoint" (bad key, unknown model or address) every request.
        retry_after_s: how long the endpoint asks to wait; None if it does not say.
    """

    def __init__(self, kind: Kind, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after_s = retry_after_s


def is_loopback(base_url: str) -> bool:
    """Whether the address is on this machine."""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_api_key(variable: str, base_url: str) -> str | None:
    """The API key from the environment; None if it is unset and the endpoint is on this machine.

    Args:
        variable: name of the environment variable (`chat.api_key_env`).
        base_url: the endpoint.

    Raises:
        MemSifterError: the variable is unset or empty and the endpoint is remote, or it holds what no key can.
    """
    key = os.environ.get(variable, "").strip()
    if not key and not is_loopback(base_url):
        raise MemSifterError(f"no API key for {_shown_url(base_url)}; set the environment variable {variable}")
    if not (key.isascii() and key.isprintable()):
        raise MemSifterError(f"the API key in {variable} holds characters that no key has; set it again")
    return key or None


@dataclass(frozen=True)
class Endpoint:
    """Where the working LLM is served. The key is shown nowhere.

    Raises:
        MemSifterError: `base_url` is not an http address.
    """

    base_url: str
    model: str
    timeout_s: float
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MemSifterError(f"base_url is {self.shown_url!r}; it must look like http://host:port/v1")

    @property
    def shown_url(self) -> str:
        """The address without user name and password."""
        return _shown_url(self.base_url)

    def open(self) -> openai.AsyncOpenAI:
        """A client without retries of its own, for use in one event loop."""
        timeout = openai.Timeout(self.timeout_s, connect=min(_CONNECT_TIMEOUT_S, self.timeout_s))
        # A proxy from the environment cannot reach this machine's loopback addresses.
        http_client = openai.DefaultAsyncHttpxClient(timeout=timeout, trust_env=not is_loopback(self.base_url))
        return openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self.api_key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=http_client,
        )

    async def ask(self, client: openai.AsyncOpenAI, request: ChatRequest) -> Answer:
        """Send one request once.

        Raises:
            RequestError: there is no answer; it says why and whether another try makes sense.
        """
        try:
            # The client's own timeout starts anew with every chunk that arrives.
            async with asyncio.timeout(self.timeout_s):
                reply = await _send(client, self.model, request)
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except (openai.APITimeoutError, TimeoutError):
            raise RequestError("unreachable", f"no reply within {self.timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            raise RequestError("unreachable", f"connection failed ({error.__cause__ or error})") from None
        except ValueError as error:
            raise RequestError("transient", f"the reply is not valid JSON ({error})") from None
        return _read_reply(reply, chat=not isinstance(request.prompt, str))

    def _refusal(self, error: openai.APIStatusError) -> RequestError:
        status = error.status_code
        kind: Kind = "request"
        if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            kind = "transient"
        elif status in _ENDPOINT_WIDE:
            kind = "endpoint"
        reason = " ".join(str(error).split()).removeprefix(f"Error code: {status} - ")
        if self.api_key:
            reason = reason.replace(self.api_key, "***")
        wait_s = _retry_after(error)
        asks = f" (it asks to wait {wait_s:.0f} s)" if wait_s else ""
        return RequestError(kind, f"HTTP {status}: {reason[:_REASON_CHARS]}{asks}", wait_s)


async def _send(client: openai.AsyncOpenAI, model: str, request: ChatRequest) -> Any:
    sampling = request.sampling
    options: dict[str, Any] = {
        "model": model,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        options["seed"] = sampling.seed
    if isinstance(request.prompt, str):
        return await client.completions.create(prompt=request.prompt, **options)
    return await client.chat.completions.create(messages=cast(Any, list(request.prompt)), **options)


def _read_reply(reply: Any, chat: bool) -> Answer:
    """The client does not check a reply against its types, so any part of it may be missing."""
    choices = getattr(reply, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise RequestError("transient", "the reply holds no choice")
    finish_reason = getattr(choices[0], "finish_reason", None)
    text = getattr(getattr(choices[0], "message", None), "content", None) if chat else getattr(choices[0], "text", None)
    if not isinstance(text, str):
        raise RequestError("transient", f"the reply holds no text (finish_reason {finish_reason})")
    usage = getattr(reply, "usage", None)
    return Answer(text, finish_reason, getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None))


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds from a Retry-After header: a number, or an HTTP date."""
    value = error.response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None


def _shown_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

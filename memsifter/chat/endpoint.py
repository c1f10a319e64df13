"""One OpenAI-compatible endpoint: what is sent to it, with which key, and how a reply is received."""

import asyncio
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from memsifter.chat.reply import Answer, RequestError, read_error, read_reply
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import Message
from memsifter.params.llm import LengthParameter

if TYPE_CHECKING:  # takes longer to import than all else that most stages do; only who sends a request needs it
    import openai

LOCAL = "local"  # the `chat.base_url` of a model that is served here
_SECRET_CHARS = 16  # of a key; shorter ones are words that stand in for one


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the answer is decoded. What is None or empty is not sent, and the endpoint's default holds."""

    max_tokens: int
    temperature: float | None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request.

    Attributes:
        prompt: chat messages, or one text for the raw completion form.
        sampling: how the answer is decoded.
        question_id: whose it is, for messages; it does not change the answer.
    """

    prompt: str | Sequence[Message]
    sampling: Sampling
    question_id: str = ""


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
    """Where a model is served. The key is shown nowhere.

    Attributes:
        base_url: its address, http(s)://host:port/v1.
        model: the name that it knows.
        timeout_s: the time that one try of a request may take.
        api_key: sent with every request.
        length_parameter: the name under which `Sampling.max_tokens` is sent.

    Raises:
        MemSifterError: `base_url` is not an http address.
    """

    base_url: str
    model: str
    timeout_s: float
    api_key: str | None = field(default=None, repr=False)
    length_parameter: LengthParameter = "max_tokens"

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MemSifterError(f"base_url is {self.shown_url!r}; it must look like http://host:port/v1")

    @property
    def shown_url(self) -> str:
        """The address without user name and password."""
        return _shown_url(self.base_url)

    def open(self) -> "openai.AsyncOpenAI":
        """A client for use in one event loop.

        It does not retry: the client's own retries also repeat a request whose quota is used up, never one whose reply
        is broken, and could not say at the deadline what failed last (`ChatClient` retries).
        """
        from memsifter.chat.transport import open_client

        # A proxy from the environment cannot reach this machine's loopback addresses.
        return open_client(
            self.base_url, self.api_key or "none", self.timeout_s, proxies=not is_loopback(self.base_url)
        )

    async def ask(self, client: "openai.AsyncOpenAI", request: ChatRequest) -> Answer:
        """Send one request once.

        Raises:
            RequestError: there is no answer; it says why, and whether another try can help.
        """
        import openai

        try:
            # The client's own timeout starts anew with every chunk that arrives.
            async with asyncio.timeout(self.timeout_s):
                body = await self._send(client, request)
        except openai.APIStatusError as error:
            failure = self._failure(error)
        except (openai.APITimeoutError, TimeoutError):
            failure = RequestError("unreachable", f"no reply within {self.timeout_s:g} s")
        except openai.APIConnectionError as error:
            failure = RequestError("unreachable", f"connection failed ({error.__cause__ or error})")
        else:
            return read_reply(self.hide_key(body), "completion" if isinstance(request.prompt, str) else "chat")
        raise failure

    async def _send(self, client: "openai.AsyncOpenAI", request: ChatRequest) -> bytes:
        sampling = request.sampling
        wanted = {
            self.length_parameter: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop": list(sampling.stop) or None,
            "seed": sampling.seed,
        }
        options: dict[str, Any] = {"model": self.model}
        options |= {name: value for name, value in wanted.items() if value is not None}
        if isinstance(request.prompt, str):
            # The completions API knows no other name for the length.
            options["max_tokens"] = options.pop(self.length_parameter)
            reply = await client.completions.with_raw_response.create(prompt=request.prompt, **options)
        else:
            messages: Any = list(request.prompt)
            reply = await client.chat.completions.with_raw_response.create(messages=messages, **options)
        body: bytes = reply.content
        return body

    def _failure(self, error: "openai.APIStatusError") -> RequestError:
        response = error.response
        if response.is_redirect:
            target = urlsplit(response.headers.get("location", ""))
            host = f"{target.scheme}://{target.netloc.rpartition('@')[2]}" if target.netloc else "another path"
            return RequestError("endpoint", f"HTTP {error.status_code}: it redirects to {host}; correct base_url")
        wait_s = _retry_after(response.headers.get("retry-after"))
        return read_error(error.status_code, self.hide_key(response.content, error=True), wait_s)

    def hide_key(self, body: bytes, error: bool = False) -> bytes:
        """The reply without the key, which some servers repeat in their errors.

        Of what is no error, only a key that is long enough to be a secret is cut out: "none" or "ollama", which servers
        without keys are sent, may be words of an answer.
        """
        key = (self.api_key or "").encode()
        return body.replace(key, b"***") if key and (error or len(key) >= _SECRET_CHARS) else body


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or an HTTP date."""
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

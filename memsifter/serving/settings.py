"""What a server is told at its start: addresses, limits, and where keys are read."""

import math
import os
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from memsifter.chat.endpoint import Endpoint, is_loopback, read_api_key
from memsifter.errors import MemSifterError
from memsifter.params.base import HttpUrl

_ADDRESS: TypeAdapter[str] = TypeAdapter(HttpUrl)


@dataclass(frozen=True)
class Limits:
    """What one process takes on, so that it answers 429 and does not collapse.

    Attributes:
        threads: searches at the same time.
        waiting: requests beyond these that may wait for a thread.
        chats: requests that may wait for the LLM at the same time.
        body_mib: the largest body, in MiB.
        sessions: the most sessions, documents or messages of one request.
        seconds: the longest that a body may take to arrive, then that it may wait for a thread, then that a search may
            take.
    """

    threads: int = 2
    waiting: int = 32
    chats: int = 64
    body_mib: float = 8.0
    sessions: int = 10_000
    seconds: float = 60.0

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--threads", self.threads, 1),
            ("--waiting", self.waiting, 0),
            ("--chats", self.chats, 1),
            ("--max-sessions", self.sessions, 1),
        ):
            if value < least:
                raise MemSifterError(f"{option} is {value}; it must be at least {least}")
        _check_amount("--max-body-mib", self.body_mib)
        _check_amount("--seconds", self.seconds)

    @property
    def body_bytes(self) -> int:
        """The largest body, in bytes."""
        return int(self.body_mib * 2**20)


@dataclass(frozen=True)
class ServerSettings:
    """One server.

    Attributes:
        host: the address to listen on.
        port: 0 takes one that is free.
        api_key_env: the environment variable with the key that clients must send; unset: they need none.
        limits: of each process.
        llm_url: the OpenAI-compatible endpoint of `/v1/chat/completions`; None: there is none.
        llm_model: the model to ask for there; None: the one that the request names.
        llm_key_env: the environment variable with the endpoint's key.
        llm_seconds: the longest silence of the endpoint.
        memory: a file of `memsifter.sifter.memory.Memory` for the MCP tool at `/mcp`; None: there is none.
        user: whose sessions the tool searches.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key_env: str = "MEMSIFTER_API_KEY"
    limits: Limits = field(default_factory=Limits)
    llm_url: str | None = None
    llm_model: str | None = None
    llm_key_env: str = "OPENAI_API_KEY"
    llm_seconds: float = 120.0
    memory: str | None = None
    user: str = "default"

    def __post_init__(self) -> None:
        _check_amount("--llm-seconds", self.llm_seconds)
        if self.llm_url is not None:
            _check_address("--llm-url", self.llm_url)

    @property
    def shown_host(self) -> str:
        """The host as it stands in an address: an IPv6 one in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(f"http://{self.shown_host}")

    def read_key(self) -> str | None:
        """The key that clients must send; None if none is set.

        Raises:
            MemSifterError: none is set, and other machines can reach the server; or it holds what no key can.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        if not key and not self.loopback:
            raise MemSifterError(
                f"--host {self.host} can be reached by other machines; set the environment variable "
                f"{self.api_key_env} to a key that clients must send, or listen on 127.0.0.1"
            )
        if not (key.isascii() and key.isprintable()):
            raise MemSifterError(f"the API key in {self.api_key_env} holds characters that no key has; set it again")
        return key or None

    def read_llm(self) -> Endpoint | None:
        """The LLM behind the proxy.

        Raises:
            MemSifterError: it is remote and its key is not set.
        """
        if self.llm_url is None:
            return None
        url = self.llm_url.rstrip("/")
        return Endpoint(url, self.llm_model or "", self.llm_seconds, read_api_key(self.llm_key_env, url))


def _check_amount(option: str, amount: float) -> None:
    if not 0 < amount < math.inf:
        raise MemSifterError(f"{option} is {amount:g}; it must be a number above 0")


def _check_address(option: str, url: str) -> None:
    """As the pipeline's parameters are checked. What may hold a key is not shown."""
    try:
        _ADDRESS.validate_python(url)
    except ValidationError as error:
        raise MemSifterError(f"{option} {error.errors()[0]['ctx']['error']}") from None

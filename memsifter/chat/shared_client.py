"""A client as plain settings that travel to other processes, and one client that all processes of a run share."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict

from memsifter.chat.cache import AnswerCache
from memsifter.chat.client import ChatClient
from memsifter.chat.endpoint import ChatRequest, Endpoint, read_api_key
from memsifter.chat.reply import Answer, Refusal
from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_json
from memsifter.params.llm import ChatParams, JudgeParams, LengthParameter, OnRefusal

_MOST_WAITING = 100_000  # requests that may wait in the actor; the client decides how many are in flight
_NAMESPACE = "memsifter"
_IDLE_SECONDS = 1800.0  # after which an actor ends; the next request makes another


class ClientSettings(BaseModel):
    """Everything that makes a `ChatClient`, as plain values that travel. The API key stays in the environment.

    Attributes:
        section: what errors call the client.
        base_url: the endpoint.
        model: its name there.
        revision: part of the cache key (`memsifter.chat.cache.ModelIdentity`).
        api_key_env: the environment variable with the key.
        concurrency: the most requests in flight, of all processes together.
        timeout_s: the time that one try may take.
        deadline_s: the time that all tries of a request may take.
        max_retries: further tries after the first.
        length_parameter: the name under which the most tokens of an answer are sent.
        on_refusal: what becomes of requests that the model will not answer.
        cache: folder of the answers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    section: str
    base_url: str
    model: str
    revision: str
    api_key_env: str
    concurrency: int
    timeout_s: float
    deadline_s: float
    max_retries: int
    length_parameter: LengthParameter = "max_tokens"
    on_refusal: OnRefusal = "fail"
    cache: Path

    def open(self) -> ChatClient:
        """A client for this process.

        Raises:
            MemSifterError: there is no API key for a remote endpoint, or the cache does not work.
        """
        api_key = read_api_key(self.api_key_env, self.base_url)
        return ChatClient(
            Endpoint(self.base_url, self.model, self.timeout_s, api_key, self.length_parameter),
            AnswerCache(self.cache),
            concurrency=self.concurrency,
            max_retries=self.max_retries,
            deadline_s=self.deadline_s,
            revision=self.revision,
            section=self.section,
            on_refusal=self.on_refusal,
        )


def client_settings(
    params: ChatParams | JudgeParams, base_url: str, revision: str, section: str, cache: Path
) -> ClientSettings:
    """The settings that an LLM's section of the parameters gives; the rest as in `ClientSettings`."""
    return ClientSettings(
        section=section,
        base_url=base_url,
        model=params.model,
        revision=revision,
        api_key_env=params.api_key_env,
        concurrency=params.concurrency,
        timeout_s=params.timeout_s,
        deadline_s=params.deadline_s,
        max_retries=params.max_retries,
        length_parameter=params.length_parameter,
        on_refusal=params.on_refusal,
        cache=cache,
    )


def ask_all(requests: Sequence[ChatRequest], settings: ClientSettings) -> list[Answer | Refusal]:
    """`ChatClient.answer_all` for code that is not async."""

    async def answer_all() -> list[Answer | Refusal]:
        async with settings.open() as client:
            return await client.answer_all(requests)

    return asyncio.run(answer_all())


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ClientSettings, ChatClient]] = WeakKeyDictionary()


async def answer_shared(settings: ClientSettings, request: ChatRequest) -> Answer:
    """Answer a request through the client that all processes of this run share: an actor, where Ray runs.

    Raises:
        RefusedRequestError: the model will not answer this request.
        MemSifterError: the endpoint refuses every request, or every try failed.
    """
    ray = sys.modules.get("ray")  # code that runs on Ray has imported it
    if ray is not None and ray.is_initialized():
        return await _answer_by_actor(settings, request)
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    if settings not in clients:
        clients[settings] = settings.open()
    return await clients[settings].answer(request)


class _SharedClient:
    """The actor. It is made on first use and ends with its Ray, or after a long time without requests."""

    def __init__(self, settings: str, idle_s: float) -> None:
        self._client = ClientSettings.model_validate_json(settings).open()
        self._idle_s = idle_s
        self._waiting = 0
        self._last_request = time.monotonic()
        self._watch: asyncio.Task[None] | None = None

    async def answer(self, request: ChatRequest) -> Answer:
        self._watch = self._watch or asyncio.create_task(self._end_when_idle())
        self._waiting += 1
        try:
            return await self._client.answer(request)
        finally:
            self._waiting -= 1
            self._last_request = time.monotonic()

    async def _end_when_idle(self) -> None:
        while self._waiting or time.monotonic() - self._last_request < self._idle_s:
            await asyncio.sleep(self._idle_s / 10)
        os._exit(0)  # what it answered is in the cache


_actors: dict[str, Any] = {}


async def _answer_by_actor(settings: ClientSettings, request: ChatRequest) -> Answer:
    from ray.exceptions import RayActorError, RayTaskError

    text = settings.model_dump_json()
    ended: RayActorError | None = None
    for _ in range(2):  # an actor that ended because it was idle is replaced
        if text not in _actors:
            _actors[text] = _find_actor(text)
        try:
            answer: Answer = await _actors[text].answer.remote(request)
        except RayTaskError as error:
            if isinstance(error.cause, MemSifterError):
                raise error.cause from None
            raise
        except RayActorError as error:
            _actors.pop(text, None)
            ended = error
        else:
            return answer
    raise MemSifterError(
        f"{settings.section}: the process that sends requests to {settings.model} ended: {ended}"
    ) from ended


def _find_actor(settings: str) -> Any:
    """The actor of these settings, made if there is none.

    It is detached: Ray ends any other actor with the process that made it.
    """
    import ray

    options = {"num_cpus": 0, "max_concurrency": _MOST_WAITING, "lifetime": "detached", "get_if_exists": True}
    name = f"client-{sha256_json(settings)[:16]}"
    return ray.remote(_SharedClient).options(name=name, namespace=_NAMESPACE, **options).remote(settings, _IDLE_SECONDS)

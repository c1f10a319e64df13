"""A client as plain values, which travel to other processes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from memsifter.chat.cache import AnswerCache
from memsifter.chat.client import ChatClient
from memsifter.chat.endpoint import Endpoint, read_api_key
from memsifter.chat.request import Answer, ChatRequest


class ClientSettings(BaseModel):
    """Everything that makes a `ChatClient`, as plain values that travel. The API key stays in the environment.

    Attributes:
        section: what errors call the client.
        base_url: the endpoint.
        model: its name there.
        revision: part of the cache key (`memsifter.chat.request.ModelIdentity`).
        api_key_env: the environment variable with the key.
        concurrency: the most requests in flight, of all processes together.
        timeout_s: the time that one try may take.
        deadline_s: the time that all tries of a request may take.
        max_retries: further tries after the first.
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
    cache: Path

    def open(self) -> ChatClient:
        """A client for this process.

        Raises:
            MemSifterError: there is no API key for a remote endpoint, or the cache does not work.
        """
        api_key = read_api_key(self.api_key_env, self.base_url)
        return ChatClient(
            Endpoint(self.base_url, self.model, self.timeout_s, api_key),
            AnswerCache(self.cache),
            concurrency=self.concurrency,
            max_retries=self.max_retries,
            deadline_s=self.deadline_s,
            revision=self.revision,
            section=self.section,
        )


def ask_all(requests: Sequence[ChatRequest], settings: ClientSettings) -> list[Answer]:
    """Answer all requests from code that is not async, in their order; errors are those of `ChatClient.answer_all`."""

    async def ask() -> list[Answer]:
        async with settings.open() as client:
            return await client.answer_all(requests)

    return asyncio.run(ask())

"""The answer cache: what an endpoint once answered is never asked again."""

import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from tqdm import tqdm

from memsifter.chat.endpoint import Answer, ChatRequest, Endpoint, ModelIdentity, RequestError, request_key
from memsifter.errors import MemSifterError
from memsifter.io.text_cache import TextCache


class AnswerCache:
    """Answers by request key in a folder, for several processes at once."""

    def __init__(self, directory: Path) -> None:
        self._texts = TextCache(directory)

    def get(self, key: str) -> Answer | None:
        """The answer to a request, marked as cached; None if it was never answered.

        Raises:
            MemSifterError: the cache is damaged or cannot be read.
        """
        entry = self._texts.get(key)
        return None if entry is None else self._read(entry)

    def put(self, key: str, answer: Answer) -> Answer:
        """Keep an answer.

        Returns:
            The answer that is kept: another process's if that was faster, so that all of them go on with the same one.

        Raises:
            MemSifterError: the cache is damaged or cannot be written.
        """
        value = {name: field for name, field in asdict(answer).items() if name != "cached"}
        entry = json.dumps(value)
        kept = self._texts.add(key, entry)
        return answer if kept == entry else self._read(kept)

    def close(self) -> None:
        """Close this process's connection."""
        self._texts.close()

    def _read(self, entry: str) -> Answer:
        try:
            return replace(Answer(**json.loads(entry)), cached=True)
        except (ValueError, TypeError) as error:
            raise self._texts.broken(error) from error


_BACKOFF_CAP_S = 30.0
_LONGEST_WAIT_S = 120.0
_DEAD_AFTER = 3  # requests in a row that could not be delivered: the endpoint is down


class ChatClient:
    """A client of one OpenAI-compatible endpoint, for use in one event loop.

    Every answer is cached at once. A request that gets no answer is an error, never an empty answer. Equal requests
    that run at the same time are sent once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: AnswerCache,
        *,
        concurrency: int,
        max_retries: int,
        deadline_s: float = math.inf,
        revision: str = "",
        section: str = "chat",
        backoff_s: float = 1.0,
    ) -> None:
        """Nothing is sent yet.

        Args:
            endpoint: where to ask, and the time that one try may take.
            cache: answers that are known.
            concurrency: the most requests in flight.
            max_retries: further tries after the first, for failures that may pass.
            deadline_s: the time that all tries of one request may take together, from the first one on.
            revision: part of the cache key: a local model's hash, or a remote one's address.
            section: what errors and the progress bar call this client, normally its section in params.yaml.
            backoff_s: scale of the waits between tries: the n-th is drawn from 0 to `backoff_s` · 2ⁿ⁻¹ (full jitter),
                unless the endpoint asks for a longer one.
        """
        self._endpoint = endpoint
        self._cache = cache
        self._identity = ModelIdentity(endpoint.model, revision)
        self._max_retries = max_retries
        self._deadline_s = deadline_s
        self._section = section
        self._backoff_s = backoff_s
        self._slots = asyncio.Semaphore(concurrency)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._client = endpoint.open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def answer(self, request: ChatRequest) -> Answer:
        """Answer one request, from the cache if it is there.

        Raises:
            MemSifterError: the endpoint refused the request, or every try failed.
        """
        try:
            return await self._answer(request_key(self._identity, request), request)
        except RequestError as failure:
            raise MemSifterError(f"{self._section}: request to {self._endpoint.shown_url} failed: {failure}") from None

    async def answer_all(self, requests: Sequence[ChatRequest], progress: bool = True) -> list[Answer]:
        """Answer all requests, in their order.

        One request's failure does not stop the others. What stops them is an endpoint that is down (several requests in
        a row used up their tries without a connection or a reply) or that refuses every request (bad key, unknown
        model).

        Args:
            requests: what to ask; equal ones are sent once.
            progress: show a progress bar when stderr is a terminal.

        Raises:
            MemSifterError: at least one request has no answer. The others are cached: the next call asks for the rest.
        """
        keys = [request_key(self._identity, request) for request in requests]
        outcomes = await self._run(dict(zip(keys, requests, strict=True)), progress)
        answers = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Answer)}
        failures = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, RequestError)}
        if failures:
            answered, failed = (sum(key in group for key in keys) for group in (answers, failures))
            untried = "" if answered + failed == len(keys) else ", and the others were given up"
            raise MemSifterError(
                f"{self._section}: {failed} of {len(keys)} requests to {self._endpoint.shown_url} failed for good "
                f"(first: {next(iter(failures.values()))}){untried}; the {answered} answers are cached, "
                "run again to ask only for the rest"
            )
        first = {key: position for position, key in reversed(list(enumerate(keys)))}
        return [
            answers[key] if first[key] == position else replace(answers[key], cached=True)
            for position, key in enumerate(keys)
        ]

    async def _run(self, requests: dict[str, ChatRequest], progress: bool) -> dict[str, Answer | RequestError]:
        """What became of each request by key; those given up because of the endpoint are left out."""
        tasks = [asyncio.create_task(self._try(key, request)) for key, request in requests.items()]
        undelivered = 0
        try:
            with tqdm(total=len(tasks), desc=self._section, unit="answer", disable=None if progress else True) as bar:
                for finished in asyncio.as_completed(tasks):
                    _, outcome = await finished
                    bar.update()
                    kind = outcome.kind if isinstance(outcome, RequestError) else None
                    undelivered = undelivered + 1 if kind == "unreachable" else 0
                    if kind == "endpoint" or undelivered == _DEAD_AFTER:
                        break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return dict(task.result() for task in tasks if not task.cancelled())

    async def _try(self, key: str, request: ChatRequest) -> tuple[str, Answer | RequestError]:
        try:
            return key, await self._answer(key, request)
        except RequestError as failure:
            return key, failure

    async def _answer(self, key: str, request: ChatRequest) -> Answer:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if (known := self._cache.get(key)) is not None:
                return known
            async with self._slots:
                answer = await self._ask(request)
            return self._cache.put(key, answer)

    async def _ask(self, request: ChatRequest) -> Answer:
        """Try until there is an answer, a failure that will not pass, no try left, or no time left."""
        end = asyncio.get_running_loop().time() + self._deadline_s
        failure = RequestError("unreachable", "no reply")
        for retries in range(self._max_retries + 1):
            try:
                async with asyncio.timeout_at(None if math.isinf(end) else end):
                    return await self._endpoint.ask(self._client, request)
            except TimeoutError:
                break
            except RequestError as error:
                failure = error
            asked_s = failure.retry_after_s or 0.0
            if failure.kind in ("request", "endpoint") or asked_s > _LONGEST_WAIT_S or retries == self._max_retries:
                raise failure
            jitter_s = random.uniform(0, min(_BACKOFF_CAP_S, self._backoff_s * 2**retries))
            wait_s = max(asked_s, jitter_s)
            if asyncio.get_running_loop().time() + wait_s >= end:
                break
            await asyncio.sleep(wait_s)
        raise RequestError(failure.kind, f"{failure} (given up at the deadline of {self._deadline_s:g} s)")

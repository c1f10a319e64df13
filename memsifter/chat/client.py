"""A client of one endpoint: every request is sent once, failures that may pass are retried, answers are cached."""

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from tqdm import tqdm

from memsifter.chat.cache import AnswerCache, ModelIdentity, request_key
from memsifter.chat.endpoint import ChatRequest, Endpoint
from memsifter.chat.reply import Answer, Refusal, RefusedRequestError, RequestError
from memsifter.errors import MemSifterError
from memsifter.params.llm import OnRefusal

_BACKOFF_CAP_S = 30.0
_LONGEST_WAIT_S = 120.0
_EMPTY_RETRIES = 3  # of a reply without an answer: some servers send one now and then, a model that has none always
_DEAD_AFTER = 3  # requests in a row that could not be delivered: the endpoint is down
_NAMED = 20  # question ids in an error


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
        on_refusal: OnRefusal = "fail",
        backoff_s: float = 1.0,
    ) -> None:
        """Nothing is sent yet.

        Args:
            endpoint: where to send requests, and the time that one try may take.
            cache: answers that are known.
            concurrency: the most requests in flight.
            max_retries: further tries after the first, for failures that may pass.
            deadline_s: the time that all tries of one request may take together, from the first one on.
            revision: part of the cache key: a local model's hash, or a remote one's address.
            section: what errors and the progress bar call this client, normally its section in params.yaml.
            on_refusal: whether `answer_all` fails if the model will not answer a request, or leaves it out.
            backoff_s: scale of the waits between tries: the n-th is drawn from 0 to `backoff_s` · 2ⁿ⁻¹ (full jitter),
                unless the endpoint asks for a longer one.
        """
        self._endpoint = endpoint
        self._cache = cache
        self._identity = ModelIdentity(endpoint.model, revision)
        self._max_retries = max_retries
        self._deadline_s = deadline_s
        self._section = section
        self._on_refusal = on_refusal
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
            RefusedRequestError: the model will not answer this request.
            MemSifterError: the endpoint refuses every request, or every try failed.
        """
        try:
            return await self._answer(request_key(self._identity, request), request)
        except RequestError as failure:
            kind = RefusedRequestError if failure.kind == "refused" else MemSifterError
            raise kind(f"{self._section}: request to {self._endpoint.shown_url} failed: {failure}") from None

    async def answer_all(self, requests: Sequence[ChatRequest], progress: bool = True) -> list[Answer | Refusal]:
        """Answer all requests, in their order.

        One request's failure does not stop the others. What stops them is an endpoint that is down (several requests in
        a row used up their tries without a connection or a reply) or that refuses every request (bad key, no quota,
        unknown model).

        Args:
            requests: what to send; equal ones are sent once.
            progress: show a progress bar when stderr is a terminal.

        Returns:
            Answers; a `Refusal` where the model will not answer and `on_refusal` is leave_out.

        Raises:
            MemSifterError: a request has no answer. The others are cached: the next call sends only the rest.
        """
        keys = [request_key(self._identity, request) for request in requests]
        outcomes = await self._run(dict(zip(keys, requests, strict=True)), progress)
        self._check(keys, requests, outcomes)
        first = {key: position for position, key in reversed(list(enumerate(keys)))}
        answers: list[Answer | Refusal] = []
        for position, key in enumerate(keys):
            outcome = outcomes[key]
            if isinstance(outcome, RequestError):
                answers.append(Refusal(str(outcome)))
            else:
                answers.append(outcome if first[key] == position else replace(outcome, cached=True))
        return answers

    def _check(
        self, keys: Sequence[str], requests: Sequence[ChatRequest], outcomes: Mapping[str, Answer | RequestError]
    ) -> None:
        """Raise unless every request has an answer or may be left out.

        A model that answers none of them is set up wrongly, so that none is left out then.
        """
        failures = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, RequestError)}
        refused = {key for key, failure in failures.items() if failure.kind == "refused"}
        answered = sum(isinstance(outcomes.get(key), Answer) for key in keys)
        if not failures or (len(refused) == len(failures) and answered and self._on_refusal == "leave_out"):
            return
        untried = "" if all(key in outcomes for key in keys) else ", and the others were given up"
        first = next((failure for failure in failures.values() if failure.kind == "endpoint"), None)
        remedy = "run again to send only the rest"
        if refused:
            remedy += "; what was refused will be refused again: change it, or set on_refusal to leave_out"
        raise MemSifterError(
            f"{self._section}: {sum(key in failures for key in keys)} of {len(keys)} requests to "
            f"{self._endpoint.shown_url} failed for good ({_name_questions(keys, requests, failures)}first: "
            f"{first or next(iter(failures.values()))}){untried}; the {answered} answers are cached, {remedy}"
        )

    async def _run(self, requests: Mapping[str, ChatRequest], progress: bool) -> dict[str, Answer | RequestError]:
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
                answer = await self._send(request)
            return self._cache.put(key, answer)

    async def _send(self, request: ChatRequest) -> Answer:
        """Try until there is an answer, a failure that will not pass, no try left, or no time left."""
        end = asyncio.get_running_loop().time() + self._deadline_s
        failure = RequestError("unreachable", "no reply")
        empty = 0
        for retries in range(self._max_retries + 1):
            try:
                async with asyncio.timeout_at(None if math.isinf(end) else end):
                    return await self._endpoint.ask(self._client, request)
            except TimeoutError:
                break
            except RequestError as error:
                failure = error
            empty += failure.kind == "empty"
            last = retries == self._max_retries or empty > _EMPTY_RETRIES
            if failure.kind == "empty" and last:
                raise RequestError("refused", str(failure))
            wait_s = failure.retry_after_s or 0.0
            if last or failure.kind in ("refused", "endpoint") or wait_s > _LONGEST_WAIT_S:
                raise failure
            wait_s = max(wait_s, random.uniform(0, min(_BACKOFF_CAP_S, self._backoff_s * 2**retries)))
            if asyncio.get_running_loop().time() + wait_s >= end:
                break
            await asyncio.sleep(wait_s)
        raise RequestError(failure.kind, f"{failure} (given up at the deadline of {self._deadline_s:g} s)")


def _name_questions(keys: Sequence[str], requests: Sequence[ChatRequest], failures: Mapping[str, RequestError]) -> str:
    """The questions whose requests failed, as the beginning of a list; "" if the requests name none."""
    names = [repr(item.question_id) for key, item in zip(keys, requests, strict=True) if key in failures]
    named = [name for name in dict.fromkeys(names) if name != "''"]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"questions {', '.join(named[:_NAMED])}{more}; " if named else ""

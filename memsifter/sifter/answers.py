"""An LLM's answer from what a search found: stage `chat` for one question, at any OpenAI-compatible endpoint."""

import asyncio
import tempfile
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memsifter.chat.context import build_requests, keep_probable
from memsifter.chat.endpoint import LOCAL, ChatRequest
from memsifter.chat.prompt import extract_answer, load_chat_prompt
from memsifter.chat.reply import Answer
from memsifter.chat.server import working_llm_client
from memsifter.chat.shared_client import ClientSettings
from memsifter.errors import MemSifterError
from memsifter.llm.tokens import Tokenizer
from memsifter.params import ChatParams
from memsifter.params.load import describe_problems
from memsifter.sifter.results import SiftedAnswer
from memsifter.sifter.search import Found
from memsifter.sifter.settings import PROMPTS_DIRECTORY


def endpoint_params(
    chat: ChatParams, base_url: str | None, model: str | None, api_key_env: str | None, max_sessions: int | None
) -> ChatParams:
    """The parameters of the working LLM with what a call says otherwise.

    Raises:
        MemSifterError: no endpoint is named, or one of the values is wrong.
    """
    wanted = {"base_url": base_url, "model": model, "api_key_env": api_key_env, "max_sessions": max_sessions}
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    try:
        params = ChatParams(**{name: getattr(chat, name) for name in ChatParams.model_fields} | changes)
    except ValidationError as error:
        raise MemSifterError(f"answer: {'; '.join(describe_problems(error, ChatParams))}") from error
    if params.base_url == LOCAL:
        raise MemSifterError("answer: no LLM is named; give base_url, such as http://localhost:11434/v1, and model")
    return params


def answer_question(found: Found, params: ChatParams, tokenizer: Tokenizer, seed: int) -> SiftedAnswer:
    """Ask the working LLM the one question of a search. What it answers is kept nowhere.

    Raises:
        MemSifterError: no session fits its context, there is no key, the endpoint gave no answer, or the LLM will not
            answer (`RefusedRequestError`).
    """
    prompt = load_chat_prompt(PROMPTS_DIRECTORY / f"{params.prompts.chat}.yaml")
    rankings = {
        name: keep_probable(ranking, found.probabilities[name], params.min_score)
        for name, ranking in found.rankings.items()
    }
    [item] = build_requests(found.dataset, rankings, prompt, tokenizer, params, found.lexical, seed)
    with tempfile.TemporaryDirectory(prefix="memsifter-answer-") as folder:
        client = working_llm_client(params, params.base_url, "answer", Path(folder))
        answer = _run_to_its_end(_ask(item.request, client))
    return SiftedAnswer(extract_answer(answer.text, prompt.form), item.context.session_ids, tuple(found.sessions[0]))


async def _ask(request: ChatRequest, settings: ClientSettings) -> Answer:
    async with settings.open() as client:
        return await client.answer(request)


def _run_to_its_end(answering: Coroutine[Any, Any, Answer]) -> Answer:
    """What a coroutine returns. Where a loop runs already, as in a notebook, it gets a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(answering)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()

    async def answer() -> Answer:
        started.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await answering

    with ThreadPoolExecutor(max_workers=1) as thread:
        answered = thread.submit(asyncio.run, answer())
        try:
            return answered.result()
        except KeyboardInterrupt:  # the thread does not see it, and would be waited for
            loop, task = started.result()
            if task and not answered.done():
                loop.call_soon_threadsafe(task.cancel)
            raise

"""The working LLM as params.yaml describes it: a local model served for as long as it is needed, or an endpoint."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from memsifter.chat.cache import AnswerCache
from memsifter.chat.client_settings import ClientSettings, ask_all
from memsifter.chat.endpoint import Endpoint
from memsifter.chat.request import Answer, ChatRequest, ModelIdentity, request_key
from memsifter.chat.server import serve
from memsifter.models.fingerprint import fingerprint_model
from memsifter.params import ChatParams
from memsifter.paths import model_directory

logger = logging.getLogger(__name__)

LOCAL = "local"


def ask_working_llm(requests: Sequence[ChatRequest], params: ChatParams, cache: Path, seed: int) -> list[Answer]:
    """Answers in the order of the requests. Known answers come from `cache`; without new ones no server is started.

    Raises:
        MemSifterError: no API key, the server does not start, or requests failed for good (the others are cached).
    """
    settings = working_llm_client(params, params.base_url, "chat", cache)
    identity = ModelIdentity(settings.model, settings.revision)
    answers = AnswerCache(cache)
    keys = [request_key(identity, request) for request in requests]
    known = {key: answer for key in set(keys) if (answer := answers.get(key)) is not None}
    missing = sum(key not in known for key in keys)
    logger.info("%d answers, %d of them cached", len(requests), len(requests) - missing)
    if not missing:
        return [known[key] for key in keys]
    with serve_working_llm(params, seed) as base_url:
        return ask_all(requests, settings.model_copy(update={"base_url": base_url}))


def working_llm_client(params: ChatParams, base_url: str, section: str, cache: Path) -> ClientSettings:
    """How to ask the working LLM.

    Args:
        params: of the working LLM.
        base_url: where it is served now.
        section: of the parameters, for errors.
        cache: folder of its answers.
    """
    return ClientSettings(
        section=section,
        base_url=base_url,
        model=params.model,
        revision=_identify(params),
        api_key_env="" if params.base_url == LOCAL else params.api_key_env,  # the local server is sent no key
        concurrency=params.concurrency,
        timeout_s=params.timeout_s,
        deadline_s=params.deadline_s,
        max_retries=params.max_retries,
        cache=cache,
    )


def serve_working_llm(params: ChatParams, seed: int) -> AbstractContextManager[str]:
    """The working LLM's base URL for the length of a `with` block; a local model is served that long.

    Raises:
        MemSifterError: the local server does not start.
    """
    if params.base_url == LOCAL:
        return serve(model_directory(params.local_model), params.model, params.engine, seed)
    return nullcontext(params.base_url)


def _identify(params: ChatParams) -> str:
    """What tells it from other models of its name: the hash of a local model's weights, or a remote one's address."""
    if params.base_url == LOCAL:
        return f"{fingerprint_model(model_directory(params.local_model))} {params.engine.dtype}"
    return Endpoint(params.base_url, params.model, params.timeout_s).shown_url

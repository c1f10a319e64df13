"""The working LLM: any OpenAI-compatible endpoint, or a local model that vLLM serves on loopback meanwhile."""

import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from requests import RequestException, Session
from tqdm import tqdm

from memsifter.chat.cache import AnswerCache, ModelIdentity, request_key
from memsifter.chat.endpoint import LOCAL, ChatRequest, Endpoint
from memsifter.chat.reply import Answer, Refusal
from memsifter.chat.shared_client import ClientSettings, ask_all, client_settings
from memsifter.errors import MemSifterError
from memsifter.io.paths import cache_directory, model_directory
from memsifter.io.process import quote_log, start_process, stop_process
from memsifter.llm.runtime import engine_arguments, engine_environment
from memsifter.models.references import fingerprint_model
from memsifter.params import ChatParams, EngineParams

logger = logging.getLogger(__name__)

_START_SECONDS = 900
_STOP_SECONDS = 15


def ask_working_llm(
    requests: Sequence[ChatRequest], params: ChatParams, cache: Path, seed: int
) -> list[Answer | Refusal]:
    """Answers in the order of the requests. Known answers come from `cache`; if all are known, no server is started.

    Args:
        requests: one per question.
        params: of the working LLM.
        cache: folder of the answers.
        seed: of the local server.

    Returns:
        Answers; a `Refusal` for a question that the model will not answer, with `chat.on_refusal: leave_out`.

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
    """How to reach the working LLM.

    Args:
        params: of the working LLM.
        base_url: where it is served now.
        section: of the parameters, for errors.
        cache: folder of its answers.
    """
    settings = client_settings(params, base_url, _identify(params), section, cache)
    # The local server is sent no key.
    return settings.model_copy(update={"api_key_env": ""}) if params.base_url == LOCAL else settings


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


@contextmanager
def serve(model: Path, name: str, engine: EngineParams, seed: int, max_logprobs: int = 0) -> Iterator[str]:
    """Serve a Hugging Face directory and yield the base URL (`http://127.0.0.1:<port>/v1`).

    The server stops with the block, and with this process even if that is killed.

    Args:
        model: Hugging Face directory.
        name: the model name that clients send.
        engine: vLLM's settings.
        seed: the engine's seed.
        max_logprobs: as in `engine_arguments`.

    Raises:
        MemSifterError: the server ends before it answers, or does not answer in time; the message quotes its log.
    """
    port = _free_port()
    log = cache_directory("logs") / (re.sub(r"[^\w.-]", "_", f"server-{name}-{port}") + ".log")
    # The module, not `vllm serve`: the CPU build of vLLM has another distribution name, which that command looks up.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    command += _options(engine_arguments(engine, seed, max_logprobs))
    environment = os.environ | engine_environment(engine)
    environment.pop("VLLM_API_KEY", None)  # the server would expect a key, and our client sends none
    process = start_process(command, log, environment)
    try:
        _wait_until_ready(process, port, name, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        stop_process(process, "the local server", _STOP_SECONDS)


def _options(arguments: dict[str, Any]) -> list[str]:
    options = []
    for key, value in arguments.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{name}" if value else f"--no-{name}")
        else:
            options += [f"--{name}", str(value)]
    return options


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    logger.info("starting the local server for %s (log: %s)", name, log)
    started = time.monotonic()
    session = Session()
    session.trust_env = False  # a proxy from the environment cannot reach this machine's loopback addresses
    with tqdm(desc=f"starting {name}", unit="s", bar_format="{desc}: {elapsed}", mininterval=5) as clock:
        while time.monotonic() - started < _START_SECONDS:
            if process.poll() is not None:
                code = process.returncode
                raise MemSifterError(f"the local server for {name} ended with code {code}: {quote_log(log)}")
            try:
                if session.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                    return
            except RequestException:
                pass  # not listening yet
            time.sleep(0.5)
            clock.update()
    raise MemSifterError(f"the local server for {name} did not answer within {_START_SECONDS} s; see {log}")

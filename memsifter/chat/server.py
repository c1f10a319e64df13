"""A local OpenAI-compatible server: vLLM on a free loopback port, for as long as a `with` block lasts."""

import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from tqdm import tqdm

from memsifter.errors import MemSifterError
from memsifter.params import EngineParams
from memsifter.paths import cache_directory
from memsifter.process import quote_log, start_process, stop_process
from memsifter.vllm_settings import engine_arguments, engine_environment

logger = logging.getLogger(__name__)

_START_SECONDS = 900
_STOP_SECONDS = 15


@contextmanager
def serve(model: Path, name: str, engine: EngineParams, seed: int) -> Iterator[str]:
    """Serve a Hugging Face directory and yield the base URL (`http://127.0.0.1:<port>/v1`).

    The server stops with the block, and with this process even if that is killed.

    Args:
        model: Hugging Face directory.
        name: The model name that clients send.
        engine: vLLM's settings.
        seed: The engine's seed.

    Raises:
        MemSifterError: the server ends before it answers, or does not answer in time; the message quotes its log.
    """
    port = _free_port()
    log = cache_directory("logs") / (re.sub(r"[^\w.-]", "_", f"server-{name}-{port}") + ".log")
    # The module, not `vllm serve`: the CPU build of vLLM has another distribution name, which that command looks up.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), *_options(engine, seed)]
    environment = os.environ | engine_environment(engine)
    environment.pop("VLLM_API_KEY", None)  # the server would ask for a key that no client of ours sends
    process = start_process(command, log, environment)
    try:
        _wait_until_ready(process, port, name, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        stop_process(process, "the local server", _STOP_SECONDS)


def _options(engine: EngineParams, seed: int) -> list[str]:
    options = []
    for key, value in engine_arguments(engine, seed).items():
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
    session = requests.Session()
    session.trust_env = False  # a proxy from the environment cannot reach this machine's loopback addresses
    with tqdm(desc=f"starting {name}", unit="s", bar_format="{desc}: {elapsed}", mininterval=5) as clock:
        while time.monotonic() - started < _START_SECONDS:
            if process.poll() is not None:
                code = process.returncode
                raise MemSifterError(f"the local server for {name} ended with code {code}: {quote_log(log)}")
            try:
                if session.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                    return
            except requests.RequestException:
                pass  # not listening yet
            time.sleep(0.5)
            clock.update()
    raise MemSifterError(f"the local server for {name} did not answer within {_START_SECONDS} s; see {log}")

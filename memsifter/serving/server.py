"""Listening: one process, or several that are started again when they end."""

import argparse
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import Multiprocess

from memsifter.errors import MemSifterError
from memsifter.io.process import die_with_parent
from memsifter.serving.settings import ServerSettings
from memsifter.sifter.commands import open_sifter
from memsifter.sifter.memory import Memory

if TYPE_CHECKING:
    from fastapi import FastAPI

_BACKLOG = 2048
_GRACE_S = 10
_KEEP_ALIVE_S = 75  # longer than any Retry-After, so that no client comes back to a connection that is being closed


def serve(settings: ServerSettings, options: argparse.Namespace, processes: int) -> None:
    """Listen until the process is told to end.

    Args:
        settings: what the server is told.
        options: what the sifter is made of (`memsifter.sifter.commands.add_models`).
        processes: how many answer; each has models of its own.

    Raises:
        MemSifterError: something that the server needs is missing or wrong; nothing was served then.
    """
    if processes < 1:
        raise MemSifterError(f"--processes is {processes}; it must be at least 1")
    if processes > 1 and options.ranker:
        raise MemSifterError(
            "each process would start a ranker of its own; leave --processes at 1, the ranker takes several at once"
        )
    # Each request of a client would write lines about what its messages lack.
    logging.getLogger("memsifter.sifter.inputs").setLevel(logging.WARNING)
    with _listen(settings) as listening:
        if processes == 1:
            app = make_app(settings, options)
            _tell(settings, listening)
            uvicorn.Server(_config(lambda: app, 1)).run([listening])
            return
        settings.read_key(), settings.read_llm()
        with open_sifter(options) as sifter:  # what is wrong is said once, here
            if settings.memory is not None:
                Memory(settings.memory, sifter).close()
        with tempfile.TemporaryDirectory(prefix="memsifter-metrics-") as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            _tell(settings, listening)
            Multiprocess(_config(partial(_make_worker_app, settings, options), processes), [listening]).run()


def make_app(settings: ServerSettings, options: argparse.Namespace) -> "FastAPI":
    """The application of one process, with its models, which it closes at its end."""
    # Imported here: a worker must know the folder of the metrics before.
    from memsifter.serving.app import create_app

    sifter = open_sifter(options)
    return create_app(settings, sifter, None if settings.memory is None else Memory(settings.memory, sifter))


def _make_worker_app(settings: ServerSettings, options: argparse.Namespace) -> "FastAPI":
    die_with_parent(signal.SIGTERM)()
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != os.getppid():  # it ended before Linux was asked
        sys.exit(1)
    return make_app(settings, options)


def _config(make: Callable[[], "FastAPI"], processes: int) -> uvicorn.Config:
    return uvicorn.Config(
        make,
        factory=True,
        workers=processes,
        log_config=None,  # the command has set up logging
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )


@contextmanager
def _listen(settings: ServerSettings) -> Iterator[socket.socket]:
    try:
        kind = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((settings.host, settings.port), family=kind, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise MemSifterError(
            f"cannot listen on {settings.host}, port {settings.port} ({error}); choose another with --host or --port"
        ) from error
    with listening:
        yield listening


def _tell(settings: ServerSettings, listening: socket.socket) -> None:
    print(f"listening on http://{settings.shown_host}:{listening.getsockname()[1]} (its page: /docs)", flush=True)

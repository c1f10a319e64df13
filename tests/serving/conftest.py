from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from running_app import SESSIONS, Client, running

from bench.memory import HashedEncoder
from memsifter.serving.app import create_app
from memsifter.serving.settings import Limits, ServerSettings
from memsifter.sifter.memory import Memory
from memsifter.sifter.sifter import Sifter

Serve = Callable[..., Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers; keyword arguments are those of `ServerSettings`, `limits`' own, an `encoder` and a `memory`."""
    with ExitStack() as stack:

        def start(encoder: Any = None, memory: Path | None = None, **options: Any) -> Client:
            limits = {name: options.pop(name) for name in list(options) if name in Limits.__dataclass_fields__}
            settings = ServerSettings(limits=Limits(**limits), **options)
            sifter = Sifter(encoder or HashedEncoder())
            kept = None
            if memory is not None:
                kept = Memory(memory, sifter)
                kept.add_many(settings.user, SESSIONS)
            return stack.enter_context(running(create_app(settings, sifter, kept)))

        yield start


@pytest.fixture
def client(serve: Serve) -> Client:
    """A server without an LLM and without a memory."""
    return serve()

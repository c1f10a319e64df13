"""What the routes of one application share."""

from dataclasses import dataclass, field

from fastapi import Request

from memsifter.errors import DataError
from memsifter.serving.metrics import Metrics
from memsifter.serving.proxy import Upstream
from memsifter.serving.settings import ServerSettings
from memsifter.serving.work import WorkPool
from memsifter.sifter.memory import Memory
from memsifter.sifter.sifter import Sifter


@dataclass
class State:
    """What the routes of one application share.

    Attributes:
        settings: what the server was told.
        sifter: searches.
        memory: what the MCP tool searches; None: there is none.
        upstream: the LLM behind the proxy; None: there is none.
        pool: the threads that search.
        metrics: what is counted.
        ready: whether the models are loaded.
        problem: why they could not be.
    """

    settings: ServerSettings
    sifter: Sifter
    memory: Memory | None
    upstream: Upstream | None
    pool: WorkPool
    metrics: Metrics
    ready: bool = False
    problem: str = field(default="the models are being loaded")

    def check_count(self, count: int, name: str) -> None:
        """Refuse more sessions than one request may hold.

        Raises:
            DataError: there are more.
        """
        most = self.settings.limits.sessions
        if count > most:
            raise DataError(f"{name}: {count} given, at most {most} are taken", fix="send fewer, or several requests")


def state_of(request: Request) -> State:
    """The state of the application that a request reached."""
    state: State = request.app.state.serving
    return state

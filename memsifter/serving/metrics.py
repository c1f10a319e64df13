"""What Prometheus reads: requests by path and status, their time, and how many are in work."""

import os
import re
import time
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes of one server leave their figures for each other; prometheus_client reads it when imported."""
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The figures of one process."""

    def __init__(self, paths: frozenset[str]) -> None:
        """No request yet.

        Args:
            paths: those that are told apart; what else clients ask for would be labels without end.
        """
        self._paths = paths
        self._registry = CollectorRegistry()
        labels = ["path", "status"]
        self._requests = Counter("memsifter_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "memsifter_request_seconds",
            "Time until the whole answer was sent.",
            ["path"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._in_work = Gauge(
            "memsifter_requests_in_work",
            "Requests that are not answered yet.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """The application with its requests counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            status, started = 500, time.perf_counter()

            async def send_counted(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            path = scope["path"] if scope["path"] in self._paths else "other"
            self._in_work.inc()
            try:
                return await app(scope, receive, send_counted)
            finally:
                self._in_work.dec()
                self._requests.labels(path, status).inc()
                self._seconds.labels(path).observe(time.perf_counter() - started)

        return counted

    def render(self) -> bytes:
        """The figures of all processes of the server, in Prometheus' text format."""
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        _forget_dead_processes(Path(os.environ[FOLDER_VARIABLE]))
        every = CollectorRegistry()
        MultiProcessCollector(every)  # type: ignore[no-untyped-call]
        return generate_latest(every)


def forget_process() -> None:
    """Let what this process has in work no longer count, when it ends."""
    if FOLDER_VARIABLE in os.environ:
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def _forget_dead_processes(folder: Path) -> None:
    """Do the same for those that were killed."""
    for file in folder.glob("gauge_live*.db"):
        owner = re.search(r"_(\d+)\.db$", file.name)
        if owner and not psutil.pid_exists(int(owner[1])):
            mark_process_dead(int(owner[1]))  # type: ignore[no-untyped-call]

"""A real Ray head with a job server, on loopback, with a token and folders of its own."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from requests import RequestException, Session

_START_SECONDS = 120


@dataclass(frozen=True)
class Head:
    """Where the head answers, and the variables that its clients need."""

    address: str
    job_server: str
    environment: dict[str, str]


@contextmanager
def ray_head(num_cpus: int) -> Iterator[Head]:
    """Start a head with one logical GPU; all of its processes end with the block."""
    # Not below pytest's folders: the path of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(24),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    gcs, dashboard, agent, client = _free_ports(4)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--port", gcs, "--dashboard-host", "127.0.0.1", "--dashboard-port", dashboard]
    command += ["--dashboard-agent-listen-port", agent, "--ray-client-server-port", client, "--temp-dir", str(folder)]
    command += ["--num-cpus", str(num_cpus), "--num-gpus", "1", "--object-store-memory", "500000000"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    log = folder / "head.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, env=inherited | environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{dashboard}"
        address = _wait(url, gcs, process, log)
        yield Head(address, url, environment)
    finally:
        process.send_signal(signal.SIGTERM)  # it ends its children
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, port: str, process: subprocess.Popen[bytes], log: Path) -> str:
    """The head's address, when it has said it and its job server answers."""
    deadline = time.monotonic() + _START_SECONDS
    session = Session()
    session.trust_env = False
    while time.monotonic() < deadline and process.poll() is None:
        said = re.search(rf"[\d.]+:{port}\b", log.read_text(encoding="utf-8"))
        try:
            session.get(f"{url}/api/version", timeout=5)
        except RequestException:
            said = None
        if said:
            return said[0]
        time.sleep(0.5)
    raise RuntimeError(f"no Ray head within {_START_SECONDS} s: {log.read_text(encoding='utf-8')[-2000:]}")


def _free_ports(count: int) -> list[str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [str(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()

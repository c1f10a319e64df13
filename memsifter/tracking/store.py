"""The MLflow server or database, and the experiment in it."""

import os
import socket
import sqlite3
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from memsifter.errors import MemSifterError, error_chain
from memsifter.io import paths
from memsifter.io.display import mask_credentials
from memsifter.params import Params

# At the start a server that is down must be noticed at once; at the end hours of work should outlive its restart.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
# MLflow retries an unreachable database for minutes and cannot be told not to, so its port is tried first.
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_TIMEOUT_S = 5


def tracking_uri(params: Params) -> str:
    """Where runs are recorded: `tracking.uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the shared root.

    A relative SQLite path is taken from the shared root as well: an experiment runs in a copy of the repository that is
    deleted afterwards.
    """
    uri = params.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.partition(":///")
    return f"{scheme}{separator}{paths.shared_root() / path}" if scheme == "sqlite" else uri


@contextmanager
def open_experiment(params: Params) -> Iterator[str]:
    """Connect MLflow to the experiment `tracking.experiment`, created if new, and hold `lock`. Yields its id.

    It stays MLflow's current experiment when the body has ended.

    Raises:
        MemSifterError: MLflow cannot be reached or used, here or in the body; names the URI without its credentials.
    """
    uri, name = tracking_uri(params), params.tracking.experiment
    with lock(), explained(uri):
        with short_retries():
            _check_database_port(uri)
            mlflow.set_tracking_uri(uri)
            if uri.startswith("sqlite:") and mlflow.get_experiment_by_name(name) is None:
                # MLflow's default is below the current directory, which may be a temporary copy.
                mlflow.create_experiment(name, artifact_location=(paths.shared_root() / "mlartifacts").as_uri())
            experiment = mlflow.set_experiment(name)
        yield str(experiment.experiment_id)


def find_runs(*conditions: str) -> list[Run]:
    """Runs of the current experiment that meet all conditions of MLflow's filter language, newest first."""
    order = ["attributes.start_time DESC"]
    runs: list[Run] = mlflow.search_runs(filter_string=" and ".join(conditions), order_by=order, output_format="list")
    return runs


def lock() -> FileLock:
    """Lets one process at a time of this machine look for a run and create it, or compute a status and store it."""
    return FileLock(paths.cache_directory("tracking") / "runs.lock")


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow and its stores raise into one `MemSifterError` that names the URI, without credentials."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        # The innermost system error says it best ("Connection refused"); what wraps it repeats URLs and stack levels.
        system = [link for link in error_chain(error) if isinstance(link, OSError | sqlite3.Error)]
        reason = textwrap.shorten(mask_credentials(str([error, *system][-1])), 300, placeholder=" ...")
        raise MemSifterError(
            f"MLflow at {mask_credentials(uri)} cannot be used: {reason}; "
            "check tracking.uri in params.yaml and MLFLOW_TRACKING_URI"
        ) from error


@contextmanager
def short_retries() -> Iterator[None]:
    """Let requests fail within seconds, unless the user's environment says otherwise.

    What MLflow adds to the environment, its URI for instance, is removed as well: child processes do not need it.
    """
    before = dict(os.environ)
    os.environ.update(_IMPATIENT | before)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


def _check_database_port(uri: str) -> None:
    parts = urlsplit(uri)
    port = parts.port or _DATABASE_PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port and not parts.scheme.startswith("http"):
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_TIMEOUT_S).close()

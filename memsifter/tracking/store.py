"""The MLflow server or file, and the experiment in it."""

import os
import socket
import sqlite3
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import time
from urllib.parse import urlsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from memsifter.command import error_chain
from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.params import Params
from memsifter.tracking.values import mask_credentials

# What MLflow and the databases under it raise when they cannot be reached or used.
STORE_ERRORS = (MlflowException, SQLAlchemyError, ImportError, OSError)
PARENT_TAG = "mlflow.parentRunId"
# At the start a server that is down must be noticed at once; at the end hours of work should outlive its restart.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
# MLflow retries an unreachable database for minutes and cannot be told not to, so its port is tried first.
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_TIMEOUT_S = 5
# Children of one pipeline run: a pipeline has fewer stages.
_MAX_CHILDREN = 1000


@dataclass(frozen=True)
class Experiment:
    """An open MLflow experiment. Runs are named explicitly: MLFLOW_RUN_ID in the environment has no effect."""

    client: MlflowClient
    id: str
    uri: str

    def create_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run with status RUNNING and return its id."""
        return str(self.client.create_run(self.id, tags=dict(tags), run_name=name).info.run_id)

    def children(self, parent: str) -> list[Run]:
        """Runs of stages below a parent, newest first."""
        found = self.search({PARENT_TAG: parent}, _MAX_CHILDREN)
        return [run for run in found if "stage" in run.data.tags]

    def search(self, tags: Mapping[str, str], max_results: int, status: str | None = None) -> list[Run]:
        """Runs that have all the tags (and the status), newest first."""
        conditions = [_condition(name, value) for name, value in tags.items()]
        conditions += [f"attributes.status = '{status}'"] if status else []
        found = self.client.search_runs(
            [self.id], " and ".join(conditions), max_results=max_results, order_by=["attributes.start_time DESC"]
        )
        return [run for run in found if tags.items() <= run.data.tags.items()]

    def log(
        self,
        run: str,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
    ) -> None:
        """Add clean values (see `memsifter.tracking.values`) to a run."""
        now = int(time() * 1000)
        self.client.log_batch(
            run,
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
            metrics=[Metric(name, value, now, step) for name, value in (metrics or {}).items()],
        )


def tracking_uri(params: Params) -> str:
    """Where runs are recorded: `tracking.uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the shared root.

    A relative SQLite path is taken from the shared root as well: an experiment runs in a copy of the repository that is
    deleted afterwards.
    """
    uri = params.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.partition(":///")
    return f"{scheme}{separator}{paths.shared_root() / path}" if scheme == "sqlite" else uri


def open_experiment(params: Params) -> Experiment:
    """Connect and find or create the experiment `tracking.experiment`. Call it under `lock`.

    Raises:
        MemSifterError: MLflow cannot be reached or used; names the URI without its credentials.
    """
    uri, name = tracking_uri(params), params.tracking.experiment
    with explained(uri), short_retries():
        _check_database_port(uri)
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(name)
        if found is None:
            # Given, because MLflow's default is below the current directory, which may be a temporary copy.
            artifacts = (paths.shared_root() / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
            return Experiment(client, str(client.create_experiment(name, artifact_location=artifacts)), uri)
    if found.lifecycle_stage == "deleted":
        raise MemSifterError(
            f"the MLflow experiment {name} is deleted; set another tracking.experiment or restore this one "
            f"(`mlflow experiments restore -x {found.experiment_id}`)"
        )
    return Experiment(client, str(found.experiment_id), uri)


@contextmanager
def lock() -> Iterator[None]:
    """Let one process at a time of this machine look for a run and create it, or compute a status and store it."""
    with FileLock(paths.cache_directory("tracking") / "runs.lock"):
        yield


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow and its stores raise into one `MemSifterError` that names the URI, without credentials."""
    try:
        yield
    except STORE_ERRORS as error:
        # The innermost system error says it best ("Connection refused"); what wraps it repeats URLs and stack levels.
        reason = next(
            (link for link in reversed([*error_chain(error)]) if isinstance(link, OSError | sqlite3.Error)), error
        )
        raise MemSifterError(
            f"MLflow at {mask_credentials(uri)} cannot be used: {one_line(reason)}; "
            "check tracking.uri in params.yaml and MLFLOW_TRACKING_URI"
        ) from error


def one_line(error: BaseException) -> str:
    """The beginning of an error's message, without credentials."""
    return textwrap.shorten(mask_credentials(str(error)), 300, placeholder=" ...")


@contextmanager
def short_retries() -> Iterator[None]:
    """Let requests fail within seconds, unless the user's environment says otherwise."""
    added = {name: value for name, value in _IMPATIENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _condition(name: str, value: str) -> str:
    """A condition of MLflow's filter language, whose strings cannot hold their own quote: there it stands for any."""
    return f"tags.`{name}` LIKE '{value.replace(chr(39), '_')}'" if "'" in value else f"tags.`{name}` = '{value}'"


def _check_database_port(uri: str) -> None:
    parts = urlsplit(uri)
    port = parts.port or _DATABASE_PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port and not parts.scheme.startswith("http"):
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_TIMEOUT_S).close()

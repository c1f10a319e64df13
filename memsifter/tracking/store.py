"""The MLflow server or database, and the runs in it.

What needs MLflow, here and in `completion`, raises `MemSifterError` if it cannot be reached or used.
"""

import logging
import socket
import sqlite3
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from memsifter.errors import MemSifterError, error_chain
from memsifter.io import paths
from memsifter.io.display import mask_credentials
from memsifter.params import Params
from memsifter.tracking.records import EVALUATIONS, Record, ended_records, tracking_uri

logger = logging.getLogger(__name__)

FINISHED = "attributes.status = 'FINISHED'"
KEY_TAG, PARENT_TAG = "memsifter.pipeline_run", "mlflow.parentRunId"
_RECORD_TAG = "memsifter.record"
_COMMON_TAGS = ("profile", "mlflow.source.git.commit", "git.dirty", "dvc_exp")
# MLflow retries an unreachable database for minutes and cannot be told not to, so its port is tried first.
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_TIMEOUT_S = 5


@contextmanager
def open_experiment(params: Params) -> Iterator[None]:
    """Record what waits, then make `tracking.experiment`, created if new, MLflow's current experiment.

    One process of this machine at a time: to look for a run and create it, to compute a status and store it.
    """
    uri = tracking_uri(params)
    mlflow.set_tracking_uri(uri)
    with FileLock(paths.cache_directory("tracking") / "runs.lock"), explained():
        parts = urlsplit(uri)
        port = parts.port or _DATABASE_PORTS.get(parts.scheme.partition("+")[0])
        if parts.hostname and port and not parts.scheme.startswith("http"):
            socket.create_connection((parts.hostname, port), timeout=_CONNECT_TIMEOUT_S).close()
        _deliver_records(mask_credentials(uri))
        _enter_experiment(params.tracking.experiment)
        yield


def _enter_experiment(name: str) -> str:
    if mlflow.get_tracking_uri().startswith("sqlite:") and mlflow.get_experiment_by_name(name) is None:
        # MLflow's default is below the current directory, which may be a temporary copy.
        mlflow.create_experiment(name, artifact_location=(paths.shared_root() / "mlartifacts").as_uri())
    return str(mlflow.set_experiment(name).experiment_id)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what MLflow and its stores raise into one `MemSifterError` that names the URI, without credentials."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        # The innermost system error says it best ("Connection refused"); what wraps it repeats URLs and stack levels.
        system = [link for link in error_chain(error) if isinstance(link, OSError | sqlite3.Error)]
        raise MemSifterError(
            f"MLflow at {mask_credentials(mlflow.get_tracking_uri())} cannot be used: {_short([error, *system][-1])}; "
            "check tracking.uri in params.yaml and MLFLOW_TRACKING_URI"
        ) from error


def _short(error: BaseException) -> str:
    return textwrap.shorten(mask_credentials(str(error)), 300, placeholder=" ...")


def find_runs(*conditions: str, everywhere: bool = False) -> list[Run]:
    """Runs that meet all conditions of MLflow's filter language, oldest first; `everywhere` in every experiment."""
    runs: list[Run] = mlflow.search_runs(
        filter_string=" and ".join(conditions),
        order_by=["attributes.start_time ASC"],
        output_format="list",
        search_all_experiments=everywhere,
    )
    return runs


def newest_runs(parent: str, *conditions: str) -> dict[str, Run]:
    """The newest run of each stage below a pipeline's run, by the stage's name."""
    children = find_runs(f"tags.`{PARENT_TAG}` = '{parent}'", "tags.stage LIKE '%'", *conditions, everywhere=True)
    return {run.data.tags["stage"]: run for run in children}


def find_pipeline_run(key: str) -> str | None:
    """The id of the run of a pipeline, if there is one."""
    return next((str(run.info.run_id) for run in find_runs(f"tags.`{KEY_TAG}` = '{key}'", everywhere=True)), None)


def open_run(record: Record) -> str | None:
    """Give a record its run, unless it has one. Returns the id of the pipeline's run; None without a pipeline."""
    parent = None
    if record.pipeline:
        parent = find_pipeline_run(record.pipeline) or _create_pipeline_run(record, record.pipeline)
    if record.run is None:
        tags = record.tags | {_RECORD_TAG: record.id} | ({PARENT_TAG: parent} if parent else {})
        # A process that was killed may have made it and not have written that down.
        made = find_runs(f"tags.`{_RECORD_TAG}` = '{record.id}'", everywhere=True)
        record.run = made[0].info.run_id if made else _create_run(record.experiment, record.started, tags, record.stage)
        record.write()  # whatever fails from here on, the next attempt must not create another run
        if parent is None:
            mlflow.log_params(record.params, run_id=record.run)
    return parent


def _create_pipeline_run(record: Record, key: str) -> str:
    tags = {name: record.tags[name] for name in _COMMON_TAGS if name in record.tags}
    commit, dirty = tags.get("mlflow.source.git.commit", ""), tags.get("git.dirty") == "true"
    name = tags.get("dvc_exp") or f"{tags['profile']} {commit[:7]}{'+changes' if dirty else ''}".strip()
    started = record.started - 1  # lists show it before its first stage
    run = _create_run(record.experiment, started, tags | {KEY_TAG: key}, name)
    mlflow.log_params(record.params, run_id=run)
    return run


def _create_run(experiment: str, started: int, tags: dict[str, str], name: str) -> str:
    # `mlflow.start_run` would go on with the run that MLFLOW_RUN_ID names, if the environment has it.
    return str(MlflowClient().create_run(_enter_experiment(experiment), started, tags, name).info.run_id)


def _deliver_records(store: str) -> None:
    """Make runs of the records of all stages that have ended, or complete their runs, and remove the records.

    A record that MLflow refuses, and one of another MLflow, is logged and waits.
    """
    for record in ended_records():
        if record.store != store:
            logger.warning("%s: its record waits for MLflow at %s", record.stage, record.store)
            continue
        try:
            _deliver(record)
        except (MlflowException, SQLAlchemyError, OSError, KeyError) as error:
            MlflowClient().search_experiments(max_results=1)  # raises if it is MLflow that fails
            logger.error("%s: its record %s waits, MLflow did not take it: %s", record.stage, record.id, _short(error))
        else:
            record.remove()


def _deliver(record: Record) -> None:
    if record.run and not find_runs(f"attributes.run_id = '{record.run}'", everywhere=True):
        logger.error("%s: its run is lost, somebody deleted it in MLflow", record.stage)
        return
    parent, client = open_run(record), MlflowClient()
    mlflow.log_metrics(record.metrics, run_id=record.run)
    if error := record.tags.get("error"):
        client.set_tag(record.run, "error", error)
    client.set_terminated(record.run, record.status, record.ended)
    if parent:
        if record.stage.partition("@")[0] in EVALUATIONS:
            results = [(*name.rpartition("/"), value) for name, value in record.metrics.items() if "/" in name]
            ranker = record.tags["ranker"]
            mlflow.log_metrics({f"{at}/{ranker}/{name}": value for at, _, name, value in results}, run_id=parent)
        update_status(parent)


def update_status(parent: str) -> None:
    """Derive the status of a pipeline's run from the newest run of each stage.

    RUNNING while any runs, else FAILED if any failed, else KILLED if any was killed or interrupted, else FINISHED.
    """
    statuses = {run.info.status for run in newest_runs(parent).values()}
    status = next((name for name in ("RUNNING", "FAILED", "KILLED") if name in statuses), "FINISHED")
    if status == "RUNNING":
        MlflowClient().update_run(parent, status=status)
    else:
        MlflowClient().set_terminated(parent, status)

"""The parent run: which pipeline run this process belongs to, how that run is doing, and which runs were killed."""

import hashlib
import json
import os
import platform
import re
from contextlib import suppress
from pathlib import Path

import mlflow
import psutil
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Run

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.params import Params
from memsifter.tracking.lineage import read_revision
from memsifter.tracking.store import find_runs
from memsifter.tracking.values import clean_tags, flatten_params

KEY_TAG = "memsifter.pipeline_run"
PARENT_TAG = "mlflow.parentRunId"
_KEY = re.compile(r"[\w.:-]+")


def pipeline_key(params: Params) -> str | None:
    """What all stages of one pipeline run have in common; None for a stage started by hand.

    MEMSIFTER_RUN if set (`make repro` does). Else a DVC experiment's name with its commit and parameters, so that one
    that was killed and is run again goes on in the same run. Else the process of `dvc repro`.

    Raises:
        MemSifterError: MEMSIFTER_RUN holds a character that has no place in a key.
    """
    if given := os.environ.get("MEMSIFTER_RUN"):
        if not _KEY.fullmatch(given):
            raise MemSifterError(f"MEMSIFTER_RUN is {given!r}; use letters, digits and the characters . _ : -")
        return given
    if name := os.environ.get("DVC_EXP_NAME"):
        revision = read_revision()
        about = [name, revision.commit if revision else None, params.model_dump(mode="json")]
        return f"exp:{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]}"
    if not os.environ.get("DVC_STAGE"):
        return None
    # DVC starts `$SHELL -c <command>`; most shells then become the command.
    dvc = psutil.Process(os.getppid())
    if "-c" in dvc.cmdline()[1:-1]:
        dvc = dvc.parent() or dvc
    # psutil's hash is of pid and time since boot; create_time() moves whenever the clock is adjusted.
    return f"{platform.node()}:{dvc.pid}:{hash(dvc) & 0xFFFFFFFF:08x}"


def find_pipeline_run(key: str) -> str | None:
    """The id of the parent run with this key, if there is one."""
    return next((str(run.info.run_id) for run in find_runs(f"tags.`{KEY_TAG}` = '{key}'")), None)


def open_pipeline_run(experiment: str, key: str, params: Params) -> str:
    """Find the parent run with this key or create it with all parameters. Call it under `lock`."""
    if found := find_pipeline_run(key):
        return found
    name = os.environ.get("DVC_EXP_NAME") or " ".join(filter(None, (params.profile, str(read_revision() or ""))))
    run = MlflowClient().create_run(experiment, tags=common_tags(params) | {KEY_TAG: key}, run_name=name)
    mlflow.log_params(flatten_params(params), run_id=run.info.run_id)
    return str(run.info.run_id)


def common_tags(params: Params) -> dict[str, str]:
    """Tags of the parent and of every child: profile, Git commit and experiment."""
    tags = {"profile": params.profile}
    if revision := read_revision():
        tags |= {"mlflow.source.git.commit": revision.commit, "git.dirty": str(revision.dirty).lower()}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc_exp"] = experiment
    return clean_tags(tags)


def newest_runs(parent: str, *conditions: str) -> dict[str, Run]:
    """The newest run of each stage below a parent, by the stage's name."""
    children = find_runs(f"tags.`{PARENT_TAG}` = '{parent}'", "tags.stage LIKE '%'", *conditions)
    return {run.data.tags["stage"]: run for run in reversed(children)}


def update_status(parent: str) -> None:
    """Derive the parent's status from the newest child of each stage. Call it under `lock`.

    RUNNING while any runs, else FAILED if any failed, else KILLED if any was killed or interrupted, else FINISHED.
    """
    statuses = {run.info.status for run in newest_runs(parent).values()}
    status = next((name for name in ("RUNNING", "FAILED", "KILLED") if name in statuses), "FINISHED")
    if status == "RUNNING":
        MlflowClient().update_run(parent, status=status)
    else:
        MlflowClient().set_terminated(parent, status)


def hold(run: str) -> FileLock:
    """Lock a file for as long as this process lives: the sign that the run is being worked on. Call it under `lock`."""
    held = FileLock(paths.cache_directory("tracking/running") / run)
    held.acquire()
    return held


def release(held: FileLock) -> None:
    """The run has ended, however it did. Call it under `lock`."""
    Path(held.lock_file).unlink(missing_ok=True)
    held.release()


def end_killed_runs() -> None:
    """Mark KILLED every run of this repository whose process is gone and left it RUNNING. Call it under `lock`."""
    for file in paths.cache_directory("tracking/running").iterdir():
        with suppress(Timeout), FileLock(file).acquire(timeout=0):  # else it lives
            # None is found if it was deleted, or is in another store.
            for run in find_runs(f"attributes.run_id = '{file.name}'", "attributes.status = 'RUNNING'"):
                MlflowClient().set_terminated(file.name, "KILLED")
                if parent := run.data.tags.get(PARENT_TAG):
                    update_status(parent)
            file.unlink()

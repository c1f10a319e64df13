"""The parent run: which pipeline run this process belongs to, how that run is doing, and which runs were killed."""

import hashlib
import json
import os
import platform
import re
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.params import Params
from memsifter.tracking.lineage import read_revision
from memsifter.tracking.store import PARENT_TAG, Experiment
from memsifter.tracking.values import clean_tags, flatten_params

KEY_TAG = "memsifter.pipeline_run"
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


def find_pipeline_run(experiment: Experiment, key: str) -> str | None:
    """The id of the parent run with this key, if there is one."""
    found = experiment.search({KEY_TAG: key}, max_results=1)
    return str(found[0].info.run_id) if found else None


def open_pipeline_run(experiment: Experiment, key: str, params: Params) -> str:
    """Find the parent run with this key or create it with all parameters. Call it under `lock`."""
    if found := find_pipeline_run(experiment, key):
        return found
    name = os.environ.get("DVC_EXP_NAME") or " ".join(filter(None, (params.profile, str(read_revision() or ""))))
    run = experiment.create_run(name, common_tags(params) | {KEY_TAG: key})
    experiment.log(run, params=flatten_params(params))
    return run


def common_tags(params: Params) -> dict[str, str]:
    """Tags of the parent and of every child: profile, Git commit and experiment."""
    tags = {"profile": params.profile}
    if revision := read_revision():
        tags |= {"mlflow.source.git.commit": revision.commit, "git.dirty": str(revision.dirty).lower()}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc_exp"] = experiment
    return clean_tags(tags)


def update_status(experiment: Experiment, parent: str) -> None:
    """Derive the parent's status from the newest child of each stage. Call it under `lock`.

    RUNNING while any runs, else FAILED if any failed, else KILLED if any was killed or interrupted, else FINISHED.
    """
    newest: dict[str, str] = {}
    for child in experiment.children(parent):
        newest.setdefault(child.data.tags["stage"], child.info.status)
    status = next((name for name in ("RUNNING", "FAILED", "KILLED") if name in newest.values()), "FINISHED")
    if status == "RUNNING":
        experiment.client.update_run(parent, status=status)
    else:
        experiment.client.set_terminated(parent, status)


def hold(run: str) -> FileLock:
    """Lock a file for as long as this process lives: the sign that the run is being worked on. Call it under `lock`."""
    held = FileLock(paths.cache_directory("tracking/running") / run)
    held.acquire()
    return held


def release(held: FileLock) -> None:
    """The run has ended, however it did. Call it under `lock`."""
    Path(held.lock_file).unlink(missing_ok=True)
    held.release()


def end_killed_runs(experiment: Experiment) -> None:
    """Mark KILLED every run of this repository whose process is gone and left it RUNNING. Call it under `lock`."""
    for file in paths.cache_directory("tracking/running").iterdir():
        held = FileLock(file)
        try:
            held.acquire(timeout=0)
        except Timeout:
            continue  # it lives
        try:
            run = experiment.client.get_run(file.name)
            if run.info.status == "RUNNING":
                experiment.client.set_terminated(file.name, "KILLED")
                if parent := run.data.tags.get(PARENT_TAG):
                    update_status(experiment, parent)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise  # else it was deleted, or is in another store
        release(held)

"""What a stage did, in a file until MLflow has it, and which pipeline run it belongs to."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, ValidationError

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.display import mask_credentials
from memsifter.io.files import read_json, write_json
from memsifter.io.process import find_launcher
from memsifter.params import Params
from memsifter.tracking.lineage import git, read_revision
from memsifter.tracking.values import clean_metrics, clean_tags, flatten_params

logger = logging.getLogger(__name__)

EVALUATIONS = ("evaluate", "evaluate_coarse")  # their metrics are results: the pipeline's run has them as well


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


class Record(BaseModel):
    """One execution of a stage, as its run in MLflow shows it, and how the stage reports to it."""

    stage: str
    pipeline: str | None  # as `pipeline_key` gives it
    tags: dict[str, str]
    params: dict[str, str]  # all of them
    # Where its run belongs. Parameters may name another place by the time of delivery, and repositories share a cache.
    store: str
    experiment: str
    started: int = Field(default_factory=now_ms)
    ended: int | None = None  # while it runs, and in the file if its process was killed
    metrics: dict[str, float] = {}
    status: str = "KILLED"  # what the file says first stays true if the process is killed
    run: str | None = None  # the id, if there is one already
    id: str = Field(default_factory=lambda: f"{time.time_ns()}-{os.getpid()}")  # the file's name

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Record metrics of the whole stage; MemSifterError if a value is not a finite number."""
        self.metrics |= clean_metrics(metrics)

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a training step, now.

        Raises:
            MemSifterError: MLflow is lost (a long run must not go on unrecorded), or a value is not a finite number.
        """
        import mlflow

        from memsifter.tracking.store import explained

        with explained():
            mlflow.log_metrics(clean_metrics(metrics), step=step, run_id=self.run)

    def write(self) -> None:
        """Store what is known by now."""
        write_json(_folder() / f"{self.id}.json", self.model_dump())

    def hold(self) -> FileLock:
        """Says, until it is released or the process ends, that a process is at work on the record."""
        return FileLock(_folder() / f"{self.id}.lock")

    def remove(self) -> None:
        """MLflow has it all."""
        for ending in ("json", "lock"):
            (_folder() / f"{self.id}.{ending}").unlink(missing_ok=True)


def new_record(params: Params, stage: str, arguments: Mapping[str, str]) -> Record:
    """The record of a stage that starts now; `arguments` and the Git commit become tags."""
    tags = {name.removesuffix("_name"): value for name, value in arguments.items()}
    if stage.partition("@")[0] in EVALUATIONS:
        tags.setdefault("ranker", "coarse")
    tags |= {"stage": stage, "profile": params.profile}
    if revision := read_revision():
        tags |= {"mlflow.source.git.commit": revision.commit, "git.dirty": str(revision.dirty).lower()}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc_exp"] = experiment
    return Record(
        stage=stage,
        pipeline=pipeline_key(params),
        tags=clean_tags(tags),
        params=flatten_params(params),
        store=mask_credentials(tracking_uri(params)),
        experiment=params.tracking.experiment,
    )


def ended_records() -> Iterator[Record]:
    """The records that no process is at work on, oldest first. A file that holds none is renamed to `*.broken`."""
    for file in sorted(_folder().glob("*.json")):
        with suppress(Timeout), FileLock(file.with_suffix(".lock"), timeout=0):
            try:
                record = Record.model_validate(read_json(file))
            except (MemSifterError, ValidationError) as error:
                kept = file.replace(file.with_suffix(".broken"))
                logger.warning("%s is no record of a stage, it stays as %s: %s", file, kept.name, error)
                continue
            if record.ended is None:  # killed; it lived when it last wrote (file systems may count in coarser steps)
                record.ended = max(record.started, file.stat().st_mtime_ns // 1_000_000)
            yield record


def pipeline_key(params: Params) -> str | None:
    """What all stages of one pipeline run have in common; None for a stage started by hand.

    It comes from MEMSIFTER_RUN, which `make repro` sets. Else from a DVC experiment's name, commit and parameters, so
    that one that was killed and is run again goes on in the same run. Else from the process of `dvc repro`.
    """
    about: list[object]
    if given := os.environ.get("MEMSIFTER_RUN"):
        about = [given]
    elif name := os.environ.get("DVC_EXP_NAME"):
        about = [name, git("rev-parse", "HEAD"), params.model_dump(mode="json")]
    elif dvc := find_launcher("DVC_STAGE"):
        # psutil's hash is of the process's id and its start since boot, which no clock adjustment moves.
        about = [platform.node(), dvc.pid, hash(dvc)]
    else:
        return None
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def tracking_uri(params: Params) -> str:
    """Where runs are recorded: `tracking.uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the shared root.

    A relative SQLite path is taken from there as well: an experiment runs in a copy of the repository that is deleted.
    """
    uri = params.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.partition(":///")
    return f"{scheme}{separator}{paths.shared_root() / path}" if scheme == "sqlite" else uri


def _folder() -> Path:
    return paths.cache_directory("tracking/records")

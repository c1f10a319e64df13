"""What a stage did, in a file until MLflow has it, and which pipeline run it belongs to."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.display import mask_credentials
from memsifter.io.files import read_json, write_json
from memsifter.io.process import find_launcher
from memsifter.params import Params
from memsifter.tracking.lineage import read_revision
from memsifter.tracking.values import clean_tags, flatten_params

logger = logging.getLogger(__name__)

DURATION = "duration_s"
EVALUATIONS = ("evaluate", "evaluate_coarse")  # their metrics are results: the pipeline's run has them as well


@dataclass
class Record:
    """One execution of a stage, as its run in MLflow shows it. Times are milliseconds since 1970.

    Attributes:
        pipeline: What all stages of a pipeline run have in common; None for a stage started by hand.
        params: All parameters.
        store: The MLflow that it is for, as `store_name` gives it; None in a file of an earlier version.
        experiment: The experiment in that MLflow; None likewise. Parameters may name others by the time of delivery.
        ended: None while the stage runs, and in the file if the process was killed.
        status: What the file says first stays true if the process is killed.
        run: The run's id, if there is one already.
        id: The file's name.
    """

    stage: str
    pipeline: str | None
    tags: dict[str, str]
    params: dict[str, str]
    started: int
    store: str | None = None
    experiment: str | None = None
    ended: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = "KILLED"
    run: str | None = None
    id: str = field(default_factory=lambda: f"{time.time_ns()}-{os.getpid()}")

    def write(self) -> None:
        """Store what is known by now."""
        write_json(_folder() / f"{self.id}.json", asdict(self))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Say that this process is at work on it, for the body or until the process ends, however it does."""
        with _lock(self.id) as lock:
            try:
                yield
            finally:
                Path(lock.lock_file).unlink()

    def remove(self) -> None:
        """MLflow has it all."""
        for ending in ("json", "lock"):
            (_folder() / f"{self.id}.{ending}").unlink(missing_ok=True)


_RECORD = TypeAdapter(Record)  # it ignores fields of other versions


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
        stage,
        pipeline_key(params),
        clean_tags(tags),
        flatten_params(params),
        now_ms(),
        store_name(params),
        params.tracking.experiment,
    )


def ended_records() -> Iterator[Record]:
    """The records of stages that have ended or were killed, oldest first.

    A killed stage ended, as far as is known, when its file was last written. A file that holds no record is named in a
    warning and renamed to `*.broken`.
    """
    for file in sorted(_folder().glob("*.json")):
        with suppress(Timeout), _lock(file.stem).acquire(timeout=0):
            try:
                record = _RECORD.validate_python(read_json(file))
            except (MemSifterError, ValidationError) as error:
                kept = file.replace(file.with_suffix(".broken"))
                logger.warning("%s is no record of a stage, it stays as %s: %s", file, kept.name, error)
                continue
            record.id = file.stem
            if record.ended is None:  # file systems may count in coarser steps than the clock
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
        about = [name, str(read_revision()).partition("+")[0], params.model_dump(mode="json")]
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


def store_name(params: Params) -> str:
    """`tracking_uri` without credentials. It tells records apart where several repositories share a cache."""
    return mask_credentials(tracking_uri(params))


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


def _folder() -> Path:
    return paths.cache_directory("tracking/records")


def _lock(name: str) -> FileLock:
    return FileLock(_folder() / f"{name}.lock")

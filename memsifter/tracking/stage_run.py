"""The child run: one stage while it runs."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import mlflow
from filelock import FileLock
from mlflow import MlflowClient

from memsifter.errors import MemSifterError
from memsifter.params import Params
from memsifter.tracking import pipeline_run, store
from memsifter.tracking.record import DURATION, record_upstream
from memsifter.tracking.values import clean_metrics, clean_tags, flatten_params

logger = logging.getLogger(__name__)

# The stages whose metrics are results. They are logged on the parent as well, so that pipeline runs can be compared.
_EVALUATIONS = ("evaluate", "evaluate_coarse")


@dataclass(frozen=True)
class StageRun:
    """The MLflow run of a stage.

    `parent` is None for a stage started by hand, `evaluated` the ranker that the stage measures, if it does.
    """

    id: str
    parent: str | None
    name: str
    evaluated: str | None
    uri: str
    held: FileLock

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics; those of an evaluation on the parent as well, as `<split>/<dataset>/<ranker>/<metric>`.

        Raises:
            MemSifterError: a value is not a finite number.
        """
        cleaned = clean_metrics(metrics)
        with self.unless_lost():
            mlflow.log_metrics(cleaned, run_id=self.id)
            if self.parent and self.evaluated:
                named = {f"/{self.evaluated}/".join(name.rsplit("/", 1)): value for name, value in cleaned.items()}
                mlflow.log_metrics(named, run_id=self.parent)

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a training step, now. A long run must not go on unrecorded, so nothing is forgiven here.

        Raises:
            MemSifterError: MLflow is lost, or a value is not a finite number.
        """
        cleaned = clean_metrics(metrics)
        with store.explained(self.uri):
            mlflow.log_metrics(cleaned, step=step, run_id=self.id)

    @contextmanager
    def unless_lost(self) -> Iterator[None]:
        """Report a lost MLflow without failing the stage: what is complete on disk must not be discarded."""
        try:
            with store.explained(self.uri):
                yield
        except MemSifterError as error:
            logger.error("%s: MLflow is lost, so not all is recorded: %s", self.name, error)


@contextmanager
def track_stage(params: Params, name: str, arguments: Mapping[str, str]) -> Iterator[StageRun]:
    """Record the body as a child run of the current pipeline run.

    A child's own parameters and hashes are those that DVC writes to dvc.lock when the stage has ended; the next stage
    or `sync` adds them, and records the stages above that did not have to run.

    Args:
        params: All parameters; they are logged on the pipeline run, for a stage started by hand on its own run.
        name: The stage as DVC names it, or its module's name.
        arguments: Command-line arguments by name (`dataset`, `ranker`, `round_name`); each becomes a tag (`round`).

    Raises:
        MemSifterError: MLflow cannot be reached or used.
    """
    run = _start(params, name, arguments)
    started = time.monotonic()
    failure: BaseException | None = None
    try:
        yield run
    except BaseException as error:
        failure = error
        raise
    finally:
        _finish(run, failure, time.monotonic() - started)


def _start(params: Params, name: str, arguments: Mapping[str, str]) -> StageRun:
    about = {argument.removesuffix("_name"): value for argument, value in arguments.items()}
    evaluated = about.setdefault("ranker", "coarse") if name.partition("@")[0] in _EVALUATIONS else None
    key = pipeline_run.pipeline_key(params)
    with store.open_experiment(params) as experiment:
        pipeline_run.end_killed_runs()
        parent = pipeline_run.open_pipeline_run(experiment, key, params) if key else None
        if parent:
            record_upstream(parent, params, name)
        tags = pipeline_run.common_tags(params) | clean_tags({"stage": name, **about})
        tags |= {pipeline_run.PARENT_TAG: parent} if parent else {}
        # `mlflow.start_run` alone would go on with the run that MLFLOW_RUN_ID names, if the environment has it.
        run = str(MlflowClient().create_run(experiment, tags=tags, run_name=name).info.run_id)
        held = pipeline_run.hold(run)
        if parent:
            pipeline_run.update_status(parent)
        else:
            mlflow.log_params(flatten_params(params), run_id=run)
        # The load of processor, memory, disk, network and GPU becomes `system/…` every ten seconds, until the run ends.
        mlflow.start_run(run_id=run, nested=True, log_system_metrics=True)
    return StageRun(run, parent, name, evaluated, store.tracking_uri(params), held)


def _finish(run: StageRun, failure: BaseException | None, seconds: float) -> None:
    """Store status, duration and kind of error, and update the parent."""
    status = "FINISHED" if failure is None else "KILLED" if isinstance(failure, KeyboardInterrupt) else "FAILED"
    logger.info("%s: %s after %.1f s", run.name, status.lower(), seconds)
    # A failure or an interrupt is to be seen at once.
    patience = store.short_retries() if failure else nullcontext()
    with store.lock(), patience:
        with run.unless_lost():
            # First: MLflow itself ends, with patience, a run that is still active when Python exits.
            mlflow.end_run(status)
            mlflow.log_metrics({DURATION: seconds}, run_id=run.id)
            if failure:
                # The message is not recorded: it may quote anything, a request with its key included.
                MlflowClient().set_tag(run.id, "error", type(failure).__name__)
            if run.parent:
                pipeline_run.update_status(run.parent)
        pipeline_run.release(run.held)

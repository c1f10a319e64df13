"""The child run: one stage while it runs."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import mlflow
from filelock import FileLock

from memsifter.params import Params
from memsifter.tracking import pipeline_run, store
from memsifter.tracking.record import DURATION, record_upstream
from memsifter.tracking.values import clean_metrics, clean_tags, flatten_params, mask_credentials

logger = logging.getLogger(__name__)

# The stages whose metrics are results. They are logged on the parent as well, so that pipeline runs can be compared.
_EVALUATIONS = ("evaluate", "evaluate_coarse")


@dataclass(frozen=True)
class StageRun:
    """The MLflow run of a stage.

    `parent` is None for a stage started by hand, `evaluated` the ranker that the stage measures, if it does.
    """

    experiment: store.Experiment
    id: str
    parent: str | None
    name: str
    evaluated: str | None
    held: FileLock

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics; those of an evaluation on the parent as well, as `<split>/<dataset>/<ranker>/<metric>`.

        Raises:
            MemSifterError: a value is not a finite number.
        """
        cleaned = clean_metrics(metrics)
        with self._unless_lost():
            self.experiment.log(self.id, metrics=cleaned)
            if self.parent and self.evaluated:
                parts = {name: name.rpartition("/") for name in cleaned}
                named = {f"{parts[name][0]}/{self.evaluated}/{parts[name][2]}": cleaned[name] for name in cleaned}
                self.experiment.log(self.parent, metrics=named)

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a training step, now. A long run must not go on unrecorded, so nothing is forgiven here.

        Raises:
            MemSifterError: MLflow is lost, or a value is not a finite number.
        """
        cleaned = clean_metrics(metrics)
        with store.explained(self.experiment.uri):
            self.experiment.log(self.id, metrics=cleaned, step=step)

    def finish(self, status: str, seconds: float, error: str | None) -> None:
        """Store status (FINISHED, FAILED or KILLED), duration and kind of error, and update the parent."""
        logger.info("%s: %s after %.1f s", self.name, status.lower(), seconds)
        # A failure or an interrupt is to be seen at once.
        patience = nullcontext() if status == "FINISHED" else store.short_retries()
        with store.lock(), patience:
            with self._unless_lost():
                # First: MLflow itself ends, with patience, a run that is still active when Python exits.
                mlflow.end_run(status)
                self.experiment.log(self.id, tags={"error": error} if error else {}, metrics={DURATION: seconds})
                if self.parent:
                    pipeline_run.update_status(self.experiment, self.parent)
            pipeline_run.release(self.held)

    @contextmanager
    def _unless_lost(self) -> Iterator[None]:
        """Report a lost MLflow without failing the stage: what is complete on disk must not be discarded."""
        try:
            yield
        except store.STORE_ERRORS as error:
            uri = mask_credentials(self.experiment.uri)
            logger.error("%s: MLflow at %s lost, not recorded: %s", self.name, uri, store.one_line(error))


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
    try:
        yield run
    except BaseException as error:
        # The message is not recorded: it may quote anything, a request with its key included.
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        run.finish(status, time.monotonic() - started, type(error).__name__)
        raise
    run.finish("FINISHED", time.monotonic() - started, None)


def _start(params: Params, name: str, arguments: Mapping[str, str]) -> StageRun:
    about = {argument.removesuffix("_name"): value for argument, value in arguments.items()}
    evaluated = about.setdefault("ranker", "coarse") if name.partition("@")[0] in _EVALUATIONS else None
    key = pipeline_run.pipeline_key(params)
    with store.lock():
        experiment = store.open_experiment(params)
        with store.explained(experiment.uri):
            pipeline_run.end_killed_runs(experiment)
            parent = pipeline_run.open_pipeline_run(experiment, key, params) if key else None
            if parent:
                record_upstream(experiment, parent, params, name)
            tags = pipeline_run.common_tags(params) | clean_tags({"stage": name, **about})
            run = experiment.create_run(name, tags | ({store.PARENT_TAG: parent} if parent else {}))
            held = pipeline_run.hold(run)
            if parent:
                pipeline_run.update_status(experiment, parent)
            else:
                experiment.log(run, params=flatten_params(params))
            _activate(experiment, run)
    return StageRun(experiment, run, parent, name, evaluated, held)


def _activate(experiment: store.Experiment, run: str) -> None:
    """Log the load of processor, memory, disk, network and GPU as `system/…` every ten seconds, until the run ends."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(experiment.uri)
    mlflow.start_run(run_id=run, nested=True, log_system_metrics=True)
    # MLflow has put the URI there for child processes, which have no business with it.
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if given is not None:
        os.environ["MLFLOW_TRACKING_URI"] = given

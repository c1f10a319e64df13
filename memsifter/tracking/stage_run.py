"""The child run: one stage while it runs."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from memsifter.params import Params
from memsifter.tracking.dataset_inputs import describe_datasets
from memsifter.tracking.dvc_stages import input_hashes, read_stages
from memsifter.tracking.experiment import Experiment, explained, lock, one_line, open_experiment, short_retries
from memsifter.tracking.pipeline_run import common_tags, open_pipeline_run, pipeline_key, update_status
from memsifter.tracking.values import clean_metrics, clean_tags, flatten_params, mask_credentials

logger = logging.getLogger(__name__)

DURATION = "duration_s"


@dataclass(frozen=True)
class StageRun:
    """The MLflow run of a stage.

    `parent` is None for a stage started by hand, `evaluated` the ranker that the stage measures, if it does.
    """

    experiment: Experiment
    id: str
    parent: str | None
    name: str
    evaluated: str | None

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics; those of an evaluation on the parent as well, so that pipeline runs can be compared.

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
        with explained(self.experiment.uri):
            self.experiment.log(self.id, metrics=cleaned, step=step)

    def finish(self, status: str, seconds: float, error: str | None) -> None:
        """Store status (FINISHED, FAILED or KILLED), duration and kind of error, and update the parent."""
        logger.info("%s: %s after %.1f s", self.name, status.lower(), seconds)
        # A failure or an interrupt is to be seen at once.
        patience = nullcontext() if status == "FINISHED" else short_retries()
        with self._unless_lost(), lock(), patience:
            self.experiment.log(self.id, tags={"error": error} if error else {}, metrics={DURATION: seconds})
            self.experiment.client.set_terminated(self.id, status)
            if self.parent:
                update_status(self.experiment, self.parent)

    @contextmanager
    def _unless_lost(self) -> Iterator[None]:
        """Report a lost MLflow without failing the stage: what is complete on disk must not be discarded."""
        try:
            yield
        except MlflowException as error:
            uri = mask_credentials(self.experiment.uri)
            logger.error("%s: MLflow at %s lost, not recorded: %s", self.name, uri, one_line(error))


@contextmanager
def track_stage(params: Params, name: str, arguments: Mapping[str, str]) -> Iterator[StageRun]:
    """Record the body as a child run of the current pipeline run.

    Args:
        params: All parameters; those that the stage depends on in dvc.yaml are logged.
        name: The stage as DVC names it, or its module's name.
        arguments: Command-line arguments by name (`dataset`, `ranker`, `round_name`); each becomes a tag (`round`).

    Raises:
        MemSifterError: MLflow cannot be reached or used.
    """
    run = _start(params, name, arguments)
    started = time.monotonic()
    try:
        with _monitored(run):
            yield run
    except BaseException as error:
        # The message is not recorded: it may quote anything, a request with its key included.
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        run.finish(status, time.monotonic() - started, type(error).__name__)
        raise
    run.finish("FINISHED", time.monotonic() - started, None)


@contextmanager
def _monitored(run: StageRun) -> Iterator[None]:
    """Log the load of processor, memory, disk, network and GPU as `system/…`, every ten seconds while the body runs."""
    monitor = SystemMetricsMonitor(run.id, tracking_uri=run.experiment.uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _start(params: Params, name: str, arguments: Mapping[str, str]) -> StageRun:
    stages = read_stages() if os.environ.get("DVC_STAGE") == name else {}
    hashes = input_hashes(stages, name) if name in stages else {}
    evaluated = next(iter(stages[name].evaluations.values()), None) if name in stages else None
    about = {argument.removesuffix("_name"): value for argument, value in arguments.items()}
    about |= dict(zip(("ranker", "dataset"), evaluated, strict=True)) if evaluated else {}
    tags = common_tags(params) | clean_tags(
        {"stage": name, **about, **{f"dep.{path}": md5 for path, md5 in hashes.items()}}
    )
    logged = flatten_params(params, stages[name].params if name in stages else None)
    key = pipeline_key()
    with lock():
        experiment = open_experiment(params)
        with explained(experiment.uri):
            parent = open_pipeline_run(experiment, key, params) if key else None
            run = experiment.create_run(name, tags | ({MLFLOW_PARENT_RUN_ID: parent} if parent else {}))
            experiment.log(run, params=logged)
            datasets = describe_datasets(hashes)
            experiment.client.log_inputs(run, datasets)
            if parent:
                experiment.client.log_inputs(parent, datasets)
                update_status(experiment, parent)
    return StageRun(experiment, run, parent, name, evaluated[0] if evaluated else None)

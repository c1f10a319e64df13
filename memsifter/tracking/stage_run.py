"""One stage while it runs.

The stages that take long, and those that give what is waited for, are runs in MLflow from their start. The others leave
a record, of which the next stage that opens MLflow makes a run, or `memsifter track`.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from memsifter.errors import MemSifterError
from memsifter.params import Params
from memsifter.tracking.records import EVALUATIONS, Record, new_record, now_ms

logger = logging.getLogger(__name__)

_LIVE = ("embed", "likelihood", "fit_likelihood", "rank", "chat", "train", *EVALUATIONS, "summarize")


@contextmanager
def track_stage(params: Params, name: str, arguments: Mapping[str, str]) -> Iterator[Record]:
    """Record the body as a nested run of the current pipeline run, or as a run of its own if started by hand.

    Args:
        params: All parameters.
        name: The stage as DVC names it, or its module's name.
        arguments: Command-line arguments by name (`dataset`, `ranker`, `round_name`); each becomes a tag (`round`).

    Raises:
        MemSifterError: MLflow cannot be reached or used.
    """
    record = new_record(params, name, arguments)
    live = record.pipeline is None or name.partition("@")[0] in _LIVE
    try:
        with record.hold():
            record.write()  # if the process is killed from here on, the next run ends what this one has in MLflow
            if live:
                _start(params, record)
            with _ended(record):
                yield record
    finally:
        if record.ended and (live or record.status != "FINISHED"):
            _deliver(params, record)


def _start(params: Params, record: Record) -> None:
    from memsifter.tracking.completion import start_stage

    try:
        start_stage(params, record)
    except MemSifterError:  # MLflow cannot be used: the stage does not start, and there is nothing to tell of it
        record.remove()
        raise


@contextmanager
def _ended(record: Record) -> Iterator[None]:
    """Write to the record how the body ends."""
    try:
        yield
        record.status = "FINISHED"
    except BaseException as error:
        record.status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        # The message is not recorded: it may quote anything, a request with its key included.
        record.tags["error"] = type(error).__name__
        raise
    finally:
        record.ended = now_ms()
        record.metrics["duration_s"] = (record.ended - record.started) / 1000
        record.write()
        logger.info("%s: %s after %.1f s", record.stage, record.status.lower(), record.metrics["duration_s"])


def _deliver(params: Params, record: Record) -> None:
    """Bring all records to MLflow. If it is lost they wait: what is complete on disk must not be discarded."""
    import mlflow

    from memsifter.tracking.store import explained, open_experiment

    try:
        with explained():
            mlflow.end_run(record.status)  # and the recording of the machine's load, if it was started
        with open_experiment(params):
            pass
    except MemSifterError as error:
        logger.error("%s: MLflow is lost, the next run records this one: %s", record.stage, error)

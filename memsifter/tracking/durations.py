"""How long the stages took whose outs lie here, as far as MLflow knows."""

from collections.abc import Iterable
from pathlib import Path

from memsifter.params import Params
from memsifter.tracking.dvc_stages import DvcStage
from memsifter.tracking.experiment import explained, lock, open_experiment, tracking_uri
from memsifter.tracking.stage_run import DURATION
from memsifter.tracking.values import clean_tags

# A stage that was restored has no duration; among this many runs the one that did the work is looked for.
_LOOKED_AT = 100


def read_durations(params: Params, stages: Iterable[DvcStage]) -> dict[str, float]:
    """Seconds by stage name, of the newest finished run that wrote the outs that dvc.lock records.

    A stage that MLflow has no such run of is absent: it ran elsewhere, or before its outs were recorded.

    Raises:
        MemSifterError: MLflow cannot be reached or used.
    """
    uri = tracking_uri(params)
    if uri.startswith("sqlite:") and not Path(uri.partition(":///")[2]).is_file():
        return {}
    with lock():
        experiment = open_experiment(params)
    durations: dict[str, float] = {}
    with explained(experiment.uri):
        for stage in stages:
            outs = clean_tags({f"out.{path}": md5 for path, md5 in stage.outs.items() if md5})
            if stage.recorded:
                runs = experiment.search({"stage": stage.name, **outs}, _LOOKED_AT, status="FINISHED")
                timed = [run.data.metrics[DURATION] for run in runs if DURATION in run.data.metrics]
                durations |= {stage.name: timed[0]} if timed else {}
    return durations

"""Figures of DVC experiments whose evaluation came from the run-cache, and so ran nowhere."""

import logging

from memsifter.metrics.results import scope_metrics
from memsifter.params import Params
from memsifter.tracking.dvc_stages import evaluation_of, open_repository
from memsifter.tracking.experiment import explained, lock, open_experiment
from memsifter.tracking.pipeline_run import KEY_TAG
from memsifter.tracking.values import clean_metrics

logger = logging.getLogger(__name__)

# Runs of one experiment: its pipeline run and a few stages.
_LOOKED_AT = 100


def complete_experiments(params: Params) -> None:
    """Log on the pipeline run of every DVC experiment the metrics that DVC has of it and MLflow lacks.

    An experiment of which no stage ran has no pipeline run, and equals one that has.

    Raises:
        MemSifterError: MLflow or DVC cannot be used.
    """
    metrics = _read_metrics(params.evaluate.split)
    with lock():
        experiment = open_experiment(params)
        with explained(experiment.uri):
            for name, values in metrics.items():
                runs = experiment.search({"dvc_exp": name}, _LOOKED_AT)
                newest = next((run for run in runs if KEY_TAG in run.data.tags), None)
                if newest is None:
                    logger.info("experiment %s: no stage ran, so there is no run to complete", name)
                    continue
                known = newest.data.metrics
                experiment.log(newest.info.run_id, metrics={key: values[key] for key in values if key not in known})


def _read_metrics(split: str) -> dict[str, dict[str, float]]:
    """Metrics under their names on a pipeline run, by experiment."""
    found: dict[str, dict[str, float]] = {}
    with open_repository() as repo:
        names = [name for listed in repo.experiments.ls(all_commits=True).values() for name, _ in listed]
        for name in names:
            files = repo.metrics.show(revs=[name], hide_workspace=True).get(name, {}).get("data", {})
            found[name] = {}
            for path, content in files.items():
                if (about := evaluation_of(path)) and "data" in content:
                    ranker, dataset = about
                    found[name] |= clean_metrics(scope_metrics(content["data"], split, dataset, ranker))
    return found

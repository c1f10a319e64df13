"""Stages that did not have to run: unchanged, or restored from DVC's cache. They are recorded beside those that ran."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from memsifter.errors import MemSifterError
from memsifter.io import files, paths
from memsifter.metrics.results import scope_metrics
from memsifter.params import Params
from memsifter.tracking.dataset_inputs import describe_datasets
from memsifter.tracking.dvc_stages import DvcStage, current_names, read_stages, upstream_names
from memsifter.tracking.experiment import Experiment, explained, lock, open_experiment
from memsifter.tracking.pipeline_run import common_tags, find_pipeline_run, pipeline_key, update_status
from memsifter.tracking.ranker_registry import register_rankers
from memsifter.tracking.stage_run import DURATION
from memsifter.tracking.values import clean_metrics, clean_tags, flatten_params


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one ranker on one dataset."""

    ranker: str
    dataset: str
    metrics: Mapping[str, float]


def record_restored_stages(params: Params) -> None:
    """Complete the pipeline run from within its last stage: record every stage that this one needs.

    A stage without a finished child run gets one with tag `restored`; those that ran get the hashes of their outs; the
    parent gets the metrics of all evaluations as `<split>/<dataset>/<ranker>/<metric>`. Does nothing in a stage started
    by hand.

    Raises:
        MemSifterError: MLflow cannot be used, or a file of metrics is broken.
    """
    key, stage = pipeline_key(), os.environ.get("DVC_STAGE")
    if key and stage:
        _record(params, key, upstream_names(stage), ended=False)


def sync(params: Params) -> None:
    """The same from outside, when `dvc repro` has ended: record every stage that is up to date.

    Needs the MEMSIFTER_RUN that `dvc repro` had. If no stage ran there is nothing to record and no run is created. A
    child still RUNNING was killed without notice and becomes FAILED.

    Raises:
        MemSifterError: MEMSIFTER_RUN is not set, MLflow cannot be used, or a file of metrics is broken.
    """
    key = pipeline_key()
    if key is None:
        raise MemSifterError("MEMSIFTER_RUN is not set; use `make repro`, which sets it for `dvc repro` and for this")
    _record(params, key, current_names(), ended=True)


def _record(params: Params, key: str, names: Collection[str], ended: bool) -> None:
    stages = [stage for stage in read_stages().values() if stage.name in names and stage.recorded]
    evaluations = {stage.name: _read_evaluations(stage) for stage in stages}
    with lock():
        experiment = open_experiment(params)
        with explained(experiment.uri):
            parent = find_pipeline_run(experiment, key)
            if parent is None:
                return
            children = experiment.children(parent)
            finished = [run for run in reversed(children) if run.info.status == "FINISHED"]  # the newest comes last
            ran = {run.data.tags["stage"]: run.info.run_id for run in finished}
            for stage in stages:
                if stage.name in ran:
                    experiment.log(ran[stage.name], tags=_hash_tags(stage))
                else:
                    ran[stage.name] = _create_restored(experiment, parent, params, stage, evaluations[stage.name])
            read = {path: md5 for stage in stages for path, md5 in stage.deps.items()}
            experiment.client.log_inputs(parent, describe_datasets(read))
            register_rankers(experiment, params.rounds, stages, ran)
            if ended:
                for run in children:
                    if run.info.status == "RUNNING":
                        experiment.client.set_terminated(run.info.run_id, "FAILED")
            _summarize(experiment, parent, params.evaluate.split, chain.from_iterable(evaluations.values()))
            update_status(experiment, parent)


def _create_restored(
    experiment: Experiment, parent: str, params: Params, stage: DvcStage, evaluations: Sequence[Evaluation]
) -> str:
    """Add a finished child run with the metrics in the stage's results, else those of the run that wrote its outs.

    Returns:
        The id of the run.
    """
    metrics: dict[str, float] = {}
    arguments: dict[str, str] = {}
    outs = clean_tags({f"out.{path}": md5 for path, md5 in stage.outs.items() if md5})
    if len(evaluations) == 1:
        found = evaluations[0]
        metrics = scope_metrics(found.metrics, params.evaluate.split, found.dataset)
        arguments = {"dataset": found.dataset, "ranker": found.ranker}
    elif earlier := experiment.search({"stage": stage.name, **outs}, max_results=1, status="FINISHED"):
        metrics = {name: value for name, value in earlier[0].data.metrics.items() if name != DURATION}
        tags = earlier[0].data.tags
        arguments = {name: tags[name] for name in ("dataset", "ranker", "round") if name in tags}
    tags = common_tags(params) | clean_tags({"stage": stage.name, "restored": "true", **arguments}) | _hash_tags(stage)
    run = experiment.create_run(stage.name, tags | {MLFLOW_PARENT_RUN_ID: parent})
    experiment.log(run, params=flatten_params(params, stage.params), metrics=clean_metrics(metrics))
    experiment.client.log_inputs(run, describe_datasets(stage.deps))
    experiment.client.set_terminated(run, "FINISHED")
    return run


def _summarize(experiment: Experiment, parent: str, split: str, evaluations: Iterable[Evaluation]) -> None:
    """Log on the parent what it does not hold yet."""
    known = experiment.client.get_run(parent).data.metrics
    metrics = clean_metrics(
        {
            name: value
            for evaluation in evaluations
            for name, value in scope_metrics(evaluation.metrics, split, evaluation.dataset, evaluation.ranker).items()
        }
    )
    experiment.log(parent, metrics={name: value for name, value in metrics.items() if known.get(name) != value})


def _hash_tags(stage: DvcStage) -> dict[str, str]:
    hashes = [("dep", *item) for item in stage.deps.items()] + [("out", *item) for item in stage.outs.items()]
    return clean_tags({f"{kind}.{path}": md5 for kind, path, md5 in hashes if md5})


def _read_evaluations(stage: DvcStage) -> list[Evaluation]:
    """What the stage wrote to `results/<ranker>/<dataset>/metrics.json`, as far as it was fetched."""
    return [
        Evaluation(ranker, dataset, files.read_json(paths.ROOT / path))
        for path, (ranker, dataset) in stage.evaluations.items()
        if (paths.ROOT / path).is_file()
    ]

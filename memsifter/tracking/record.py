"""What DVC knows and MLflow lacks: parameters and hashes of stages, and stages that did not have to run."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Param, Run, RunTag

from memsifter.errors import MemSifterError
from memsifter.metrics.results import scope_metrics
from memsifter.params import Params
from memsifter.tracking.lineage import LockedStage, read_stages, read_workspace, upstream_names
from memsifter.tracking.pipeline_run import PARENT_TAG, newest_runs
from memsifter.tracking.store import find_runs, open_experiment, tracking_uri
from memsifter.tracking.values import clean_metrics, clean_tags, flatten

DURATION = "duration_s"
FINISHED = "attributes.status = 'FINISHED'"
_INHERITED = ("profile", "mlflow.source.git.commit", "git.dirty", "dvc_exp")

Reader = Callable[[str], str | None]
"""Gives the text of a file of the repository, None where it is missing."""


def record_upstream(parent: str, params: Params, stage: str) -> None:
    """Complete the pipeline run when a stage starts: what it needs is up to date by then. Call it under `lock`."""
    stages = read_stages()
    started = stages.pop(stage, None)
    record_stages(parent, params, stages, upstream_names(stages, started.deps) if started else ())


def read_durations(params: Params, stages: Iterable[LockedStage]) -> dict[str, float]:
    """Seconds by stage name, of the newest finished run that wrote the outs that dvc.lock records.

    A stage that MLflow has no such run of is absent: it ran elsewhere, or before its outs were recorded.

    Raises:
        MemSifterError: MLflow cannot be reached or used.
    """
    uri = tracking_uri(params)
    if uri.startswith("sqlite:") and not Path(uri.partition(":///")[2]).is_file():
        return {}
    with open_experiment(params):
        runs = find_runs(FINISHED, "tags.stage LIKE '%'", f"metrics.{DURATION} > 0")
    outs = {stage.name: _hash_tags("out", stage.outs) for stage in stages if stage.outs}
    return {
        run.data.tags["stage"]: run.data.metrics[DURATION]
        for run in reversed(runs)
        if outs.get(run.data.tags["stage"], {"": ""}).items() <= run.data.tags.items()
    }


def record_stages(
    parent: str,
    params: Params,
    stages: Mapping[str, LockedStage],
    names: Collection[str],
    read: Reader = read_workspace,
) -> dict[str, str]:
    """Give each stage that has finished below the parent, or is named, what dvc.lock has of it.

    One that is named and did not run gets a run of its own. The parent gets their datasets and results.

    Returns:
        The id of each stage's run, by the stage's name.
    """
    client, finished = MlflowClient(), newest_runs(parent, FINISHED)
    recorded = [stage for name, stage in stages.items() if stage.outs and (name in names or name in finished)]
    runs: dict[str, str] = {}
    datasets: dict[str, str] = {}
    for stage in recorded:
        run = finished.get(stage.name) or _create_restored(parent, params, stage, read)
        runs[stage.name] = run.info.run_id
        tags = _hash_tags("dep", stage.deps) | _hash_tags("out", stage.outs)
        if not tags.items() <= run.data.tags.items():
            # MLflow refuses another value of a parameter.
            new = [Param(*item) for item in flatten(stage.params).items() if item[0] not in run.data.params]
            client.log_batch(run.info.run_id, params=new, tags=[RunTag(*item) for item in tags.items()])
            client.log_inputs(run.info.run_id, _describe_datasets(stage.deps))
            datasets |= stage.deps
    client.log_inputs(parent, _describe_datasets(datasets))
    log_results(parent, params, recorded, read)
    return runs


def _create_restored(parent: str, params: Params, stage: LockedStage, read: Reader) -> Run:
    """Add a finished child run with the metrics in the stage's results, else those of the run that wrote its outs."""
    about: dict[str, str] = {}
    metrics: Mapping[str, float] = {}
    same_outs = [f"tags.`{name}` = '{md5}'" for name, md5 in _hash_tags("out", stage.outs).items()]
    if results := _read_results(stage, read):
        ((ranker, dataset), values) = next(iter(results.items()))
        about = {"dataset": dataset, "ranker": ranker}
        metrics = scope_metrics(values, params.evaluate.split, dataset)
    elif earlier := find_runs(FINISHED, f"tags.stage = '{stage.name}'", *same_outs):
        data = earlier[0].data
        metrics = {name: value for name, value in data.metrics.items() if name != DURATION}
        about = {name: data.tags[name] for name in ("dataset", "ranker", "round") if name in data.tags}
    above = mlflow.get_run(parent)
    inherited = {name: above.data.tags[name] for name in _INHERITED if name in above.data.tags}
    tags = clean_tags({"stage": stage.name, "restored": "true", **about, PARENT_TAG: parent})
    run = MlflowClient().create_run(above.info.experiment_id, tags=inherited | tags, run_name=stage.name)
    mlflow.log_metrics(clean_metrics(metrics), run_id=run.info.run_id)
    MlflowClient().set_terminated(run.info.run_id, "FINISHED")
    return run


def log_results(parent: str, params: Params, stages: Iterable[LockedStage], read: Reader) -> None:
    """Log on the parent the results that it does not hold yet, as `<split>/<dataset>/<ranker>/<metric>`."""
    known = mlflow.get_run(parent).data.metrics
    for stage in stages:
        for (ranker, dataset), values in _read_results(stage, read).items():
            metrics = clean_metrics(scope_metrics(values, params.evaluate.split, dataset, ranker))
            new = {name: value for name, value in metrics.items() if known.get(name) != value}
            mlflow.log_metrics(new, run_id=parent)


def _read_results(stage: LockedStage, read: Reader) -> dict[tuple[str, str], dict[str, float]]:
    """What the stage wrote to `results/<ranker>/<dataset>/metrics.json`, as far as it was fetched."""
    results = {}
    for path in stage.outs:
        match PurePosixPath(path).parts:
            case ("results", ranker, dataset, "metrics.json") if text := read(path):
                try:
                    results[ranker, dataset] = json.loads(text)
                except ValueError as error:
                    raise MemSifterError(f"{path}: not JSON ({error}); run the stage again (dvc repro -f)") from error
    return results


def _describe_datasets(hashes: Mapping[str, str]) -> list[DatasetInput]:
    """The processed datasets and RL data among a stage's dependencies; the digest is the hash that DVC knows."""
    found = []
    for path, md5 in hashes.items():
        match PurePosixPath(path).parts:
            case ("data", "processed" | "rl" as kind, name):
                source = json.dumps({"path": path, "md5": md5})
                label = name if kind == "processed" else f"{kind}/{name}"
                found.append(DatasetInput(Dataset(name=label, digest=md5, source_type="dvc", source=source)))
    return found


def _hash_tags(kind: str, hashes: Mapping[str, str]) -> dict[str, str]:
    return clean_tags({f"{kind}.{path}": md5 for path, md5 in hashes.items()})

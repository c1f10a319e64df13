"""What DVC knows of stages and MLflow lacks: their parameters and hashes, and the stages that did not have to run."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from mlflow.entities import Dataset, DatasetInput, Run

from memsifter.errors import MemSifterError
from memsifter.metrics.results import scope_metrics
from memsifter.params import Params
from memsifter.tracking.lineage import LockedStage, read_stages, read_workspace, upstream_names
from memsifter.tracking.store import PARENT_TAG, Experiment, explained, lock, open_experiment, tracking_uri
from memsifter.tracking.values import clean_metrics, clean_tags, flatten

DURATION = "duration_s"
_INHERITED = ("profile", "mlflow.source.git.commit", "git.dirty", "dvc_exp")
# A stage that was restored has no duration; among this many runs the one that did the work is looked for.
_LOOKED_AT = 100

Reader = Callable[[str], str | None]
"""Gives the text of a file of the repository, None where it is missing."""


def record_upstream(experiment: Experiment, parent: str, params: Params, stage: str) -> None:
    """Complete the pipeline run when a stage starts: what it needs is up to date by then. Call it under `lock`."""
    stages = read_stages()
    names = upstream_names(stages, stages[stage].deps) if stage in stages else set()
    names |= finished_runs(experiment, parent).keys()
    record_stages(experiment, parent, params, [stages[name] for name in stages if name in names - {stage}])


def record_stages(
    experiment: Experiment, parent: str, params: Params, stages: Iterable[LockedStage], read: Reader = read_workspace
) -> dict[str, str]:
    """Give each stage's run what dvc.lock has of it, the parent the results of the evaluations among the stages.

    Returns:
        The id of each stage's run, by the stage's name.
    """
    finished = finished_runs(experiment, parent)
    recorded = [stage for stage in stages if stage.outs]
    runs: dict[str, str] = {}
    datasets: dict[str, str] = {}
    for stage in recorded:
        known = finished.get(stage.name)
        run = known.info.run_id if known else _create_restored(experiment, parent, params, stage, read)
        runs[stage.name] = run
        if not known or not _hash_tags(stage).items() <= known.data.tags.items():
            logged = known.data.params if known else {}  # MLflow refuses another value
            new = {name: value for name, value in flatten(stage.params).items() if name not in logged}
            experiment.log(run, params=new, tags=_hash_tags(stage))
            experiment.client.log_inputs(run, describe_datasets(stage.deps))
            datasets |= stage.deps
    experiment.client.log_inputs(parent, describe_datasets(datasets))
    log_results(experiment, parent, params, recorded, read)
    return runs


def finished_runs(experiment: Experiment, parent: str) -> dict[str, Run]:
    """The newest finished run of each stage below a parent, by the stage's name."""
    children = reversed(experiment.children(parent))
    return {run.data.tags["stage"]: run for run in children if run.info.status == "FINISHED"}


def _create_restored(experiment: Experiment, parent: str, params: Params, stage: LockedStage, read: Reader) -> str:
    """Add a finished child run with the metrics in the stage's results, else those of the run that wrote its outs."""
    about: dict[str, str] = {}
    metrics: Mapping[str, float] = {}
    if results := _read_results(stage, read):
        ((ranker, dataset), values) = next(iter(results.items()))
        about = {"dataset": dataset, "ranker": ranker}
        metrics = scope_metrics(values, params.evaluate.split, dataset)
    elif earlier := _runs_with_same_outs(experiment, stage):
        metrics = {name: value for name, value in earlier[0].data.metrics.items() if name != DURATION}
        tags = earlier[0].data.tags
        about = {name: tags[name] for name in ("dataset", "ranker", "round") if name in tags}
    inherited = experiment.client.get_run(parent).data.tags
    tags = clean_tags({"stage": stage.name, "restored": "true", **about, PARENT_TAG: parent})
    run = experiment.create_run(stage.name, {name: inherited[name] for name in _INHERITED if name in inherited} | tags)
    experiment.log(run, metrics=clean_metrics(metrics))
    experiment.client.set_terminated(run, "FINISHED")
    return run


def read_durations(params: Params, stages: Iterable[LockedStage]) -> dict[str, float]:
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
    with explained(experiment.uri):
        earlier = {stage.name: _runs_with_same_outs(experiment, stage) for stage in stages if stage.outs}
    timed = {name: [run.data.metrics.get(DURATION) for run in runs] for name, runs in earlier.items()}
    return {name: next(filter(None, seconds)) for name, seconds in timed.items() if any(seconds)}


def _runs_with_same_outs(experiment: Experiment, stage: LockedStage) -> list[Run]:
    outs = clean_tags({f"out.{path}": md5 for path, md5 in stage.outs.items()})
    return experiment.search({"stage": stage.name, **outs}, _LOOKED_AT, status="FINISHED")


def log_results(
    experiment: Experiment, parent: str, params: Params, stages: Iterable[LockedStage], read: Reader
) -> None:
    """Log on the parent the results that it does not hold yet, as `<split>/<dataset>/<ranker>/<metric>`."""
    metrics: dict[str, float] = {}
    for stage in stages:
        for (ranker, dataset), values in _read_results(stage, read).items():
            metrics |= clean_metrics(scope_metrics(values, params.evaluate.split, dataset, ranker))
    known = experiment.client.get_run(parent).data.metrics
    experiment.log(parent, metrics={name: value for name, value in metrics.items() if known.get(name) != value})


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


def describe_datasets(hashes: Mapping[str, str]) -> list[DatasetInput]:
    """The processed datasets and RL data among a stage's dependencies; the digest is the hash that DVC knows."""
    found = []
    for path, md5 in hashes.items():
        match PurePosixPath(path).parts:
            case ("data", "processed" | "rl" as kind, name):
                source = json.dumps({"path": path, "md5": md5})
                label = name if kind == "processed" else f"{kind}/{name}"
                found.append(DatasetInput(Dataset(name=label, digest=md5, source_type="dvc", source=source)))
    return found


def _hash_tags(stage: LockedStage) -> dict[str, str]:
    hashes = [("dep", *item) for item in stage.deps.items()] + [("out", *item) for item in stage.outs.items()]
    return clean_tags({f"{kind}.{path}": md5 for kind, path, md5 in hashes})

"""What DVC knows and MLflow lacks: hashes and parameters of stages that ran, and the stages that did not have to."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

from mlflow.entities import Dataset, DatasetInput, Run

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.metrics.results import scope_metrics
from memsifter.params import Params
from memsifter.tracking.lineage import LockedStage, git, read_revision, read_stages, read_workspace, upstream_names
from memsifter.tracking.pipeline_run import KEY_TAG, end_killed_runs, find_pipeline_run, pipeline_key, update_status
from memsifter.tracking.store import PARENT_TAG, Experiment, explained, lock, open_experiment, tracking_uri
from memsifter.tracking.values import clean_metrics, clean_tags, flatten

logger = logging.getLogger(__name__)

DURATION = "duration_s"
_HASH_TAG = "dvc.md5"  # of a registered ranker
_INHERITED = ("profile", "mlflow.source.git.commit", "git.dirty", "dvc_exp")
_EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")
# Runs that are looked through: a stage that was restored has no duration, and an experiment a run for every stage.
_LOOKED_AT = 100

Reader = Callable[[str], str | None]


def sync(params: Params) -> None:
    """Complete the pipeline run when `dvc repro` has ended: every stage that is up to date is recorded.

    Needs the MEMSIFTER_RUN that `dvc repro` had. If no stage ran there is nothing to record and no run is created.

    Raises:
        MemSifterError: MEMSIFTER_RUN is not set, MLflow or DVC cannot be used, or a file of metrics is broken.
    """
    key = pipeline_key(params)
    if key is None:
        raise MemSifterError("MEMSIFTER_RUN is not set; use `make repro`, which sets it for `dvc repro` and for this")
    stages = read_stages()
    changed = _changed_names()
    current = {
        name
        for name, stage in stages.items()
        if name not in changed and changed.isdisjoint(upstream_names(stages, stage.deps))
    }
    with lock():
        experiment = open_experiment(params)
        with explained(experiment.uri):
            end_killed_runs(experiment)
            if parent := find_pipeline_run(experiment, key):
                names = current | _finished(experiment, parent).keys()
                runs = _record(experiment, parent, params, [stages[name] for name in stages if name in names])
                _register_rankers(experiment, params.rounds, stages, runs)
                update_status(experiment, parent)


def complete_experiments(params: Params) -> None:
    """Complete the pipeline run of every DVC experiment with what its commit holds.

    An experiment of which no stage ran has no pipeline run, and equals one that has.

    Raises:
        MemSifterError: MLflow cannot be used, or an experiment's pipeline cannot be read.
    """
    listed = (git("for-each-ref", "--format=%(refname)", "refs/exps") or "").splitlines()
    with lock():
        experiment = open_experiment(params)
        with explained(experiment.uri):
            end_killed_runs(experiment)
            for reference, name in ((match[0], match[1]) for match in map(_EXPERIMENT.fullmatch, listed) if match):
                found = experiment.search({"dvc_exp": name}, _LOOKED_AT)
                newest = next((run.info.run_id for run in found if KEY_TAG in run.data.tags), None)
                if newest is None:
                    logger.info("experiment %s: no stage ran, so there is no run to complete", name)
                    continue
                stages = read_stages(read := _reader_of(reference))
                ran = _finished(experiment, newest).keys() & stages.keys()
                names = ran.union(*(upstream_names(stages, stages[name].deps) for name in ran))
                _record(experiment, newest, params, [stages[name] for name in stages if name in names], read)
                _log_results(experiment, newest, params, stages.values(), read)
                update_status(experiment, newest)


def record_upstream(experiment: Experiment, parent: str, params: Params, stage: str) -> None:
    """Complete the pipeline run when a stage starts: what it needs is up to date by then. Call it under `lock`."""
    stages = read_stages()
    names = upstream_names(stages, stages[stage].deps) if stage in stages else set()
    names |= _finished(experiment, parent).keys()
    _record(experiment, parent, params, [stages[name] for name in stages if name in names - {stage}])


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


def _record(
    experiment: Experiment, parent: str, params: Params, stages: Iterable[LockedStage], read: Reader = read_workspace
) -> dict[str, str]:
    """Give each stage's run what dvc.lock has of it, the parent the results of the evaluations among the stages.

    Returns:
        The id of each stage's run, by the stage's name.
    """
    finished = _finished(experiment, parent)
    recorded = [stage for stage in stages if stage.outs]
    runs: dict[str, str] = {}
    datasets: dict[str, str] = {}
    for stage in recorded:
        known = finished.get(stage.name)
        run = known.info.run_id if known else _create_restored(experiment, parent, params, stage, read)
        runs[stage.name] = run
        if not known or not _hash_tags(stage).items() <= known.data.tags.items():
            inputs = describe_datasets(stage.deps)
            experiment.log(run, params=flatten(stage.params), tags=_hash_tags(stage))
            experiment.client.log_inputs(run, inputs)
            datasets |= stage.deps
    experiment.client.log_inputs(parent, describe_datasets(datasets))
    _log_results(experiment, parent, params, recorded, read)
    return runs


def _finished(experiment: Experiment, parent: str) -> dict[str, Run]:
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


def _runs_with_same_outs(experiment: Experiment, stage: LockedStage) -> list[Run]:
    outs = clean_tags({f"out.{path}": md5 for path, md5 in stage.outs.items()})
    return experiment.search({"stage": stage.name, **outs}, _LOOKED_AT, status="FINISHED")


def _log_results(
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


def _register_rankers(
    experiment: Experiment, rounds: Collection[str], stages: Mapping[str, LockedStage], runs: Mapping[str, str]
) -> None:
    """Register `memsifter-<round>` in MLflow's registry for every trained ranker, with the hashes of its lineage.

    Equal weights are one version, however often the pipeline runs. The weights stay where DVC keeps them.
    """
    client, revision = experiment.client, read_revision()
    for stage in (stages[name] for name in runs):
        for path in (f"models/{name}" for name in rounds if f"models/{name}" in stage.outs):
            model, md5 = f"memsifter-{PurePosixPath(path).name}", stage.outs[path]
            if not client.search_registered_models(f"name = '{model}'"):
                client.create_registered_model(model, description="A ranker trained by MemSifter")
            if any(item.tags.get(_HASH_TAG) == md5 for item in client.search_model_versions(f"name = '{model}'")):
                continue
            sources = [stages[name] for name in upstream_names(stages, stage.deps)]
            hashes = {f"dvc.{out}": value for source in sources for out, value in source.outs.items()}
            tags = {_HASH_TAG: md5, "stage": stage.name, "git": str(revision or "none")} | hashes
            checkout = f"`git checkout {revision.commit}`, then " if revision else ""
            client.create_model_version(
                model,
                source=f"dvc://{path}",
                run_id=runs[stage.name],
                tags=clean_tags(tags),
                description=f"{checkout}`dvc pull {stage.name}` writes {path}; its README.md is the model card.",
            )


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


def _reader_of(revision: str) -> Reader:
    return lambda path: git("show", f"{revision}:{path}")


def _changed_names() -> set[str]:
    """The stages that `dvc status` finds changed, or whose outs were never fetched."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        raise MemSifterError(f"dvc status failed: {' '.join(done.stderr.split())[-300:]}")
    return set(json.loads(done.stdout))

"""What DVC knows and MLflow lacks: hashes and parameters of stages, results that were there already, rankers."""

import json
import logging
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Param, Run, RunTag

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.metrics.results import ORDERS_FOLDER, scope_metrics
from memsifter.params import Params
from memsifter.tracking import store
from memsifter.tracking.lineage import (
    LockedStage,
    Reader,
    git,
    read_lineage,
    read_revision,
    read_stages,
    read_workspace,
    upstream_names,
)
from memsifter.tracking.records import DURATION, Record, pipeline_key, tracking_uri
from memsifter.tracking.store import FINISHED, find_runs, open_experiment
from memsifter.tracking.values import clean_metrics, clean_tags, flatten

logger = logging.getLogger(__name__)

_HASH_TAG = "dvc.md5"  # of a registered ranker


def sync(params: Params) -> None:
    """Complete the pipeline run when `dvc repro` has ended; needs the MEMSIFTER_RUN that it had.

    Raises:
        MemSifterError: MEMSIFTER_RUN is not set, MLflow or DVC cannot be used, or a file of metrics is broken.
    """
    key = pipeline_key(params)
    if key is None:
        raise MemSifterError("MEMSIFTER_RUN is not set; use `make repro`, which sets it for `dvc repro` and for this")
    store.deliver(params)
    with open_experiment(params):
        if parent := store.find_pipeline_run(key):
            stages = read_stages()
            changed = _changed_names()
            current = {
                name: stage
                for name, stage in stages.items()
                if changed.isdisjoint({name} | upstream_names(stages, stage.deps))
            }
            complete(parent, params, stages, current)
            _register_rankers(parent, params.rounds, current)


def _changed_names() -> set[str]:
    """The stages that `dvc status` finds changed, or whose outs were never fetched."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        raise MemSifterError(f"dvc status failed: {' '.join(done.stderr.split())[-300:]}")
    return set(json.loads(done.stdout))


def complete_experiments(params: Params) -> None:
    """Complete the run of every DVC experiment with what its commit holds, also what came from DVC's run-cache.

    An experiment whose files cannot be read, because its commit is much older, is named in a warning.

    Raises:
        MemSifterError: MLflow cannot be used.
    """
    store.deliver(params)
    with open_experiment(params):
        runs = reversed(find_runs(f"tags.`{store.KEY_TAG}` LIKE '%'", "tags.dvc_exp LIKE '%'"))
        newest = {run.data.tags["dvc_exp"]: str(run.info.run_id) for run in runs}
        # refs/exps/<2 digits>/<38 digits>/<name>
        for reference in (git("for-each-ref", "--format=%(refname)", "refs/exps/??/*/*") or "").splitlines():
            name = reference.rpartition("/")[2]
            if name in newest:
                try:
                    _complete_experiment(newest[name], params, reference)
                except MemSifterError as error:
                    logger.warning("experiment %s: its run stays as it is: %s", name, error)


def _complete_experiment(parent: str, params: Params, reference: str) -> None:
    def read(path: str) -> str | None:
        return git("show", f"{reference}:{path}")

    stages = read_stages(read)
    complete(parent, params, stages, stages.keys(), read)


def start_stage(params: Params, record: Record) -> None:
    """Start the run of a stage, with the machine's load as `system/…`; what the stage needs is up to date by then."""
    store.deliver(params)
    with open_experiment(params) as experiment:
        parent = store.open_run(experiment, record)
        if parent:
            stages = read_stages()
            started = stages.pop(record.stage, None)
            complete(parent, params, stages, upstream_names(stages, started.deps) if started else ())
            store.update_status(parent)
        mlflow.start_run(run_id=record.run, nested=True, log_system_metrics=True)


def complete(
    parent: str,
    params: Params,
    stages: Mapping[str, LockedStage],
    current: Collection[str],
    read: Reader = read_workspace,
) -> None:
    """Give each stage's run what dvc.lock has of the stage, and the pipeline's run datasets, hashes and results.

    Args:
        parent: the pipeline's run.
        params: names the split that was evaluated.
        stages: from `read_stages`.
        current: names of the stages that are up to date, whether or not they had to run.
        read: gives the files of the revision that `stages` are of.
    """
    client, known = MlflowClient(), mlflow.get_run(parent).data.metrics
    for name, run in store.newest_runs(parent, FINISHED).items():
        if stage := stages.get(name):
            tags = _hash_tags("dep", stage.deps) + _hash_tags("out", stage.outs)
            if _has(run, tags):
                continue
            # MLflow refuses another value of a parameter.
            own = [Param(*item) for item in flatten(stage.params).items() if item[0] not in run.data.params]
            client.log_batch(run.info.run_id, params=own, tags=tags)
            client.log_inputs(run.info.run_id, _describe_datasets(stage.deps))
    deps: dict[str, str] = {}
    outs: dict[str, str] = {}
    results: dict[str, float] = {}
    for stage in (stages[name] for name in stages if name in current):
        deps |= stage.deps
        outs |= stage.outs
        results |= _read_results(params.evaluate.split, stage, read)
    client.log_inputs(parent, _describe_datasets(deps))
    client.log_batch(parent, tags=_hash_tags("out", outs))
    mlflow.log_metrics({name: value for name, value in results.items() if known.get(name) != value}, run_id=parent)


def _read_results(split: str, stage: LockedStage, read: Reader) -> dict[str, float]:
    """What the stage wrote to `results/<ranker>/<dataset>/metrics.json`, as `<split>/<dataset>/<ranker>/<metric>`.

    Those of the coarse orders are those of the coarse order.
    """
    for path in stage.outs:
        match PurePosixPath(path).parts:
            case ("results", folder, dataset, "metrics.json") if text := read(path):
                ranker = "coarse" if folder == ORDERS_FOLDER else folder
                try:
                    return clean_metrics(scope_metrics(json.loads(text), split, dataset, ranker))
                except ValueError as error:
                    raise MemSifterError(f"{path}: not JSON ({error}); run the stage again (dvc repro -f)") from error
    return {}


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


def _hash_tags(kind: str, hashes: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(*item) for item in clean_tags({f"{kind}.{path}": md5 for path, md5 in hashes.items()}).items()]


def _has(run: Run, tags: Iterable[RunTag]) -> bool:
    return all(run.data.tags.get(tag.key) == tag.value for tag in tags)


def _register_rankers(parent: str, rounds: Collection[str], current: Mapping[str, LockedStage]) -> None:
    """Register `memsifter-<round>` for every trained ranker, with the hashes of its lineage.

    Equal weights are one version, however often the pipeline runs. The weights stay where DVC keeps them.
    """
    client, revision, runs = MlflowClient(), read_revision(), store.newest_runs(parent, FINISHED)
    checkout = f"`git checkout {revision.commit}`, then " if revision else ""
    for stage in current.values():
        for path in {f"models/{name}" for name in rounds} & stage.outs.keys():
            model, md5 = path.replace("models/", "memsifter-"), stage.outs[path]
            if not client.search_registered_models(f"name = '{model}'"):
                client.create_registered_model(model, description="A ranker trained by MemSifter")
            if md5 in (version.tags.get(_HASH_TAG) for version in client.search_model_versions(f"name = '{model}'")):
                continue
            lineage = {f"dvc.{out}": value for out, value in read_lineage(path).items()}
            tags = {_HASH_TAG: md5, "stage": stage.name, **lineage} | ({"git": str(revision)} if revision else {})
            client.create_model_version(
                model,
                source=f"dvc://{path}",
                run_id=runs[stage.name].info.run_id if stage.name in runs else parent,
                tags=clean_tags(tags),
                description=f"{checkout}`dvc pull {stage.name}` writes {path}; its README.md is the model card.",
            )


def read_durations(params: Params, stages: Mapping[str, LockedStage]) -> dict[str, float]:
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
    outs = {stage.name: _hash_tags("out", stage.outs) for stage in stages.values() if stage.outs}
    found = ((run.data.tags["stage"], run) for run in reversed(runs))
    return {name: run.data.metrics[DURATION] for name, run in found if name in outs and _has(run, outs[name])}

"""What DVC knows and MLflow lacks: hashes and parameters of stages, results that were there already, rankers."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, RunTag

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.metrics.results import ORDERS_FOLDER, scope_metrics
from memsifter.params import Params
from memsifter.tracking import lineage, store
from memsifter.tracking.lineage import LockedStage, git
from memsifter.tracking.records import Record, pipeline_key, tracking_uri
from memsifter.tracking.values import clean_metrics, clean_tags, flatten

logger = logging.getLogger(__name__)

_HASH_TAG = "dvc.md5"  # of a registered ranker


def start_stage(params: Params, record: Record) -> None:
    """Start the run of a stage, with the machine's load as `system/…`; what the stage needs is up to date by then."""
    with store.open_experiment(params):
        if parent := store.open_run(record):
            stages = lineage.read_stages()
            started = stages.pop(record.stage, None)
            _complete(parent, stages, lineage.upstream(stages, started.deps if started else ()))
            store.update_status(parent)
        mlflow.start_run(run_id=record.run, nested=True, log_system_metrics=True)


def sync(params: Params) -> None:
    """Complete the pipeline run when `dvc repro` has ended; needs the MEMSIFTER_RUN that it had.

    Raises:
        MemSifterError: MEMSIFTER_RUN is not set, DVC cannot be used, or a file of metrics is broken.
    """
    key = pipeline_key(params)
    if key is None:
        raise MemSifterError("MEMSIFTER_RUN is not set; use `make repro`, which sets it for `dvc repro` and for this")
    with store.open_experiment(params):
        if parent := store.find_pipeline_run(key):
            stages, changed = lineage.read_stages(), _changed_names()
            current = {
                name: stage
                for name, stage in stages.items()
                if changed.isdisjoint({name, *lineage.upstream(stages, stage.deps)})
            }
            _complete(parent, stages, current)
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
    """
    with store.open_experiment(params):
        runs = store.find_runs(f"tags.`{store.KEY_TAG}` LIKE '%'", "tags.dvc_exp LIKE '%'")
        newest = {run.data.tags["dvc_exp"]: str(run.info.run_id) for run in runs}
        # refs/exps/<2 digits>/<38 digits>/<name>
        for reference in (git("for-each-ref", "--format=%(refname)", "refs/exps/??/*/*") or "").splitlines():
            name = reference.rpartition("/")[2]
            if name in newest:
                try:
                    stages = lineage.read_stages(reference)
                    _complete(newest[name], stages, stages, reference)
                except MemSifterError as error:
                    logger.warning("experiment %s: its run stays as it is: %s", name, error)


def _complete(
    parent: str, stages: Mapping[str, LockedStage], current: Mapping[str, LockedStage], reference: str | None = None
) -> None:
    """Give each stage's run what dvc.lock has of the stage, and the pipeline's run datasets, hashes and results.

    `current` are those of `stages` that are up to date, whether or not they had to run; they are of a Git reference, or
    of the checkout.
    """
    for name, run in store.newest_runs(parent, store.FINISHED).items():
        if stage := stages.get(name):
            tags = _hash_tags("dep", stage.deps) | _hash_tags("out", stage.outs)
            if not tags.items() <= run.data.tags.items():
                # MLflow refuses another value of a parameter.
                own = {key: value for key, value in flatten(stage.params).items() if key not in run.data.params}
                mlflow.log_params(own, run_id=run.info.run_id)
                _log(run.info.run_id, tags, stage.deps)
    deps = {path: md5 for stage in current.values() for path, md5 in stage.deps.items()}
    outs = {path: md5 for stage in current.values() for path, md5 in stage.outs.items()}
    _log(parent, _hash_tags("out", outs), deps)
    results = {item for stage in current.values() for item in _read_results(stage, reference).items()}
    mlflow.log_metrics(dict(results - mlflow.get_run(parent).data.metrics.items()), run_id=parent)


def _log(run: str, tags: Mapping[str, str], deps: Mapping[str, str]) -> None:
    """Add tags, and the processed datasets and RL data among deps; their digest is the hash of DVC."""
    datasets = []
    for path, md5 in deps.items():
        match PurePosixPath(path).parts:
            case ("data", "processed" | "rl" as kind, name):
                source = json.dumps({"path": path, "md5": md5})
                label = name if kind == "processed" else f"{kind}/{name}"
                datasets.append(DatasetInput(Dataset(name=label, digest=md5, source_type="dvc", source=source)))
    client = MlflowClient()
    client.log_batch(run, tags=[RunTag(*item) for item in tags.items()])
    client.log_inputs(run, datasets)


def _read_results(stage: LockedStage, reference: str | None) -> dict[str, float]:
    """What a stage wrote to `results/<ranker>/<dataset>/metrics.json`, as `<split>/<dataset>/<ranker>/<metric>`."""
    for path in stage.outs:
        match PurePosixPath(path).parts:
            case ("results", folder, dataset, "metrics.json") if text := lineage.read_file(path, reference):
                ranker = "coarse" if folder == ORDERS_FOLDER else folder
                try:
                    split = flatten(stage.params)["evaluate.split"]
                    return clean_metrics(scope_metrics(json.loads(text), split, dataset, ranker))
                except (ValueError, KeyError) as error:
                    raise MemSifterError(f"{path}: {error!r}; run its stage again (dvc repro -f)") from error
    return {}


def _hash_tags(kind: str, hashes: Mapping[str, str]) -> dict[str, str]:
    return clean_tags({f"{kind}.{path}": md5 for path, md5 in hashes.items()})


def _register_rankers(parent: str, rounds: Iterable[str], current: Mapping[str, LockedStage]) -> None:
    """Register `memsifter-<round>` for every trained ranker, with the hashes of its lineage.

    Equal weights are one version, however often the pipeline runs. The weights stay where DVC keeps them.
    """
    client, revision, runs = MlflowClient(), lineage.read_revision(), store.newest_runs(parent, store.FINISHED)
    writers = {path: (name, md5) for name, stage in current.items() for path, md5 in stage.outs.items()}
    for ranker in rounds:
        model, path = f"memsifter-{ranker}", f"models/{ranker}"
        if path not in writers:
            continue
        stage, md5 = writers[path]
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model, description="A ranker trained by MemSifter")
        if md5 in (version.tags.get(_HASH_TAG) for version in client.search_model_versions(f"name = '{model}'")):
            continue
        made_from = {f"dvc.{out}": value for out, value in lineage.read_lineage(path).items()}
        tags = {_HASH_TAG: md5, "stage": stage, **made_from} | ({"git": str(revision)} if revision else {})
        checkout = f"`git checkout {revision.commit}`, then " if revision else ""
        client.create_model_version(
            model,
            source=f"dvc://{path}",
            run_id=runs[stage].info.run_id if stage in runs else parent,
            tags=clean_tags(tags),
            description=f"{checkout}`dvc pull {stage}` writes {path}; its README.md is the model card.",
        )


def read_durations(params: Params, stages: Mapping[str, LockedStage]) -> dict[str, float]:
    """Seconds by stage name, of the newest finished run that wrote the outs that dvc.lock records.

    A stage that MLflow has no such run of is absent: it ran elsewhere, or before its outs were recorded.
    """
    uri = tracking_uri(params)
    if uri.startswith("sqlite:") and not Path(uri.partition(":///")[2]).is_file():
        return {}
    with store.open_experiment(params):
        runs = store.find_runs(store.FINISHED, "tags.stage LIKE '%'")
    outs = {name: _hash_tags("out", stage.outs) for name, stage in stages.items() if stage.outs}
    return {
        name: (run.info.end_time - run.info.start_time) / 1000
        for run in runs
        if (name := run.data.tags["stage"]) in outs and outs[name].items() <= run.data.tags.items()
    }

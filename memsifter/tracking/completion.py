"""Completing the record when `dvc repro` has ended or DVC experiments have run, and the registry of trained rankers."""

import json
import logging
import subprocess
import sys
from collections.abc import Collection, Mapping

from mlflow import MlflowClient

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.params import Params
from memsifter.tracking import pipeline_run
from memsifter.tracking.lineage import LockedStage, git, read_lineage, read_revision, read_stages, upstream_names
from memsifter.tracking.record import FINISHED, log_results, record_stages
from memsifter.tracking.store import find_runs, open_experiment
from memsifter.tracking.values import clean_tags

logger = logging.getLogger(__name__)

_HASH_TAG = "dvc.md5"  # of a registered ranker


def sync(params: Params) -> None:
    """Complete the pipeline run when `dvc repro` has ended: every stage that is up to date is recorded.

    Needs the MEMSIFTER_RUN that `dvc repro` had. If no stage ran there is nothing to record and no run is created.

    Raises:
        MemSifterError: MEMSIFTER_RUN is not set, MLflow or DVC cannot be used, or a file of metrics is broken.
    """
    key = pipeline_run.pipeline_key(params)
    if key is None:
        raise MemSifterError("MEMSIFTER_RUN is not set; use `make repro`, which sets it for `dvc repro` and for this")
    stages = read_stages()
    changed = _changed_names()
    names = [name for name in stages if changed.isdisjoint({name} | upstream_names(stages, stages[name].deps))]
    with open_experiment(params):
        pipeline_run.end_killed_runs()
        if parent := pipeline_run.find_pipeline_run(key):
            runs = record_stages(parent, params, stages, names)
            _register_rankers(params.rounds, stages, runs)
            pipeline_run.update_status(parent)


def complete_experiments(params: Params) -> None:
    """Complete the pipeline run of every DVC experiment with what its commit holds.

    An experiment of which no stage ran has no pipeline run, and equals one that has. One whose files cannot be read,
    because its commit is much older, is named in a warning.

    Raises:
        MemSifterError: MLflow cannot be used.
    """
    # refs/exps/<2 digits>/<38 digits>/<name>
    references = (git("for-each-ref", "--format=%(refname)", "refs/exps/??/*/*") or "").splitlines()
    with open_experiment(params):
        pipeline_run.end_killed_runs()
        found = reversed(find_runs(f"tags.`{pipeline_run.KEY_TAG}` LIKE '%'", "tags.dvc_exp LIKE '%'"))
        parents = {run.data.tags["dvc_exp"]: str(run.info.run_id) for run in found}
        for reference in references:
            name = reference.rpartition("/")[2]
            if name not in parents:
                logger.info("experiment %s: no stage ran, so there is no run to complete", name)
                continue
            try:
                _complete_experiment(parents[name], params, reference)
            except MemSifterError as error:
                logger.warning("experiment %s: its run stays as it is: %s", name, error)


def _complete_experiment(parent: str, params: Params, reference: str) -> None:
    """Record what ran and what that needed; and all results, which may come from DVC's run-cache."""

    def read(path: str) -> str | None:
        return git("show", f"{reference}:{path}")

    stages = read_stages(read)
    ran = pipeline_run.newest_runs(parent, FINISHED).keys() & stages.keys()
    names = set().union(*(upstream_names(stages, stages[name].deps) for name in ran))
    record_stages(parent, params, stages, names, read)
    log_results(parent, params, stages.values(), read)
    pipeline_run.update_status(parent)


def _register_rankers(rounds: Collection[str], stages: Mapping[str, LockedStage], runs: Mapping[str, str]) -> None:
    """Register `memsifter-<round>` for every trained ranker, with the hashes of its lineage.

    Equal weights are one version, however often the pipeline runs. The weights stay where DVC keeps them.
    """
    client, revision = MlflowClient(), read_revision()
    checkout = f"`git checkout {revision.commit}`, then " if revision else ""
    written = {path: stages[name] for name in runs for path in stages[name].outs}
    for path, stage in ((path, written[path]) for path in (f"models/{name}" for name in rounds) if path in written):
        model, md5 = path.replace("models/", "memsifter-"), stage.outs[path]
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model, description="A ranker trained by MemSifter")
        if any(version.tags.get(_HASH_TAG) == md5 for version in client.search_model_versions(f"name = '{model}'")):
            continue
        lineage = {f"dvc.{out}": value for out, value in read_lineage(path).items()}
        tags = {_HASH_TAG: md5, "stage": stage.name} | ({"git": str(revision)} if revision else {}) | lineage
        client.create_model_version(
            model,
            source=f"dvc://{path}",
            run_id=runs[stage.name],
            tags=clean_tags(tags),
            description=f"{checkout}`dvc pull {stage.name}` writes {path}; its README.md is the model card.",
        )


def _changed_names() -> set[str]:
    """The stages that `dvc status` finds changed, or whose outs were never fetched."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        raise MemSifterError(f"dvc status failed: {' '.join(done.stderr.split())[-300:]}")
    return set(json.loads(done.stdout))

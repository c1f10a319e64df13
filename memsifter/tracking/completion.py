"""Completing the record when `dvc repro` has ended or DVC experiments have run, and the registry of trained rankers."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.params import Params
from memsifter.tracking.lineage import LockedStage, git, lineage_of, read_revision, read_stages, upstream_names
from memsifter.tracking.pipeline_run import KEY_TAG, end_killed_runs, find_pipeline_run, pipeline_key, update_status
from memsifter.tracking.record import Reader, finished_runs, log_results, record_stages
from memsifter.tracking.store import Experiment, explained, lock, open_experiment
from memsifter.tracking.values import clean_tags

logger = logging.getLogger(__name__)

_HASH_TAG = "dvc.md5"  # of a registered ranker
_EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")
# Runs of one experiment: its pipeline run and one for every stage.
_LOOKED_AT = 100


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
                names = current | finished_runs(experiment, parent).keys()
                runs = record_stages(experiment, parent, params, [stages[name] for name in stages if name in names])
                _register_rankers(experiment, params.rounds, stages, runs)
                update_status(experiment, parent)


def complete_experiments(params: Params) -> None:
    """Complete the pipeline run of every DVC experiment with what its commit holds.

    An experiment of which no stage ran has no pipeline run, and equals one that has. One whose files cannot be read,
    because its commit is much older, is named in a warning.

    Raises:
        MemSifterError: MLflow cannot be used.
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
                try:
                    _complete_experiment(experiment, newest, params, _reader_of(reference))
                except MemSifterError as error:
                    logger.warning("experiment %s: its run stays as it is: %s", name, error)


def _complete_experiment(experiment: Experiment, run: str, params: Params, read: Reader) -> None:
    """Record what ran and what that needed; and all results, which may come from DVC's run-cache."""
    stages = read_stages(read)
    ran = finished_runs(experiment, run).keys() & stages.keys()
    names = ran.union(*(upstream_names(stages, stages[name].deps) for name in ran))
    record_stages(experiment, run, params, [stages[name] for name in stages if name in names], read)
    log_results(experiment, run, params, stages.values(), read)
    update_status(experiment, run)


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
            lineage = {f"dvc.{out}": value for out, value in lineage_of(stages, stage.deps).items()}
            tags = {_HASH_TAG: md5, "stage": stage.name} | ({"git": str(revision)} if revision else {}) | lineage
            checkout = f"`git checkout {revision.commit}`, then " if revision else ""
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


def _reader_of(revision: str) -> Reader:
    return lambda path: git("show", f"{revision}:{path}")

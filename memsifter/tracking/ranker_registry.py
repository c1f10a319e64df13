"""Trained rankers in MLflow's model registry, each version with the hashes of what it was made from."""

from collections.abc import Collection, Iterable, Mapping

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from memsifter.tracking.dvc_stages import DvcStage
from memsifter.tracking.experiment import Experiment
from memsifter.tracking.lineage import read_lineage
from memsifter.tracking.revision import read_revision
from memsifter.tracking.values import clean_tags

_HASH_TAG = "dvc.md5"


def register_rankers(
    experiment: Experiment, rounds: Collection[str], stages: Iterable[DvcStage], runs: Mapping[str, str]
) -> None:
    """Register `memsifter-<round>` for every recorded stage that writes a trained ranker. Call it under `lock`.

    Equal weights are one version, however often the pipeline runs. The weights stay where DVC keeps them: the source
    is `dvc://models/<round>` and the description says how to get them.

    Args:
        experiment: An open experiment.
        rounds: Names of the training rounds.
        stages: Recorded stages.
        runs: MLflow run by stage name.
    """
    for stage in stages:
        for name in rounds:
            if md5 := stage.outs.get(f"models/{name}"):
                _register(experiment, f"memsifter-{name}", stage, f"models/{name}", md5, runs[stage.name])


def _register(experiment: Experiment, model: str, stage: DvcStage, path: str, md5: str, run: str) -> None:
    client = experiment.client
    try:
        client.create_registered_model(model, description="A ranker trained by MemSifter")
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    versions = client.search_model_versions(f"name = '{model}'")
    if any(version.tags.get(_HASH_TAG) == md5 for version in versions):
        return
    revision = read_revision()
    lineage = {f"dvc.{source}": value for source, value in read_lineage(stage.name).items()}
    tags = {_HASH_TAG: md5, "stage": stage.name} | ({"git": str(revision)} if revision else {}) | lineage
    checkout = f"`git checkout {revision.commit}`, then " if revision else ""
    client.create_model_version(
        model,
        source=f"dvc://{path}",
        run_id=run,
        tags=clean_tags(tags),
        description=f"{checkout}`dvc pull {stage.name}` writes {path}; its README.md is the model card.",
    )

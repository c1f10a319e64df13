"""MLflow's registry of trained rankers."""

from collections.abc import Collection, Mapping

from mlflow import MlflowClient

from memsifter.tracking.lineage import LockedStage, read_lineage, read_revision
from memsifter.tracking.values import clean_tags

_HASH_TAG = "dvc.md5"


def register_rankers(rounds: Collection[str], stages: Mapping[str, LockedStage], runs: Mapping[str, str]) -> None:
    """Register `memsifter-<round>` for every trained ranker, with the hashes of its lineage.

    Equal weights are one version, however often the pipeline runs. The weights stay where DVC keeps them.

    Args:
        rounds: Names of rounds of training.
        stages: All stages by name.
        runs: The ids of the runs of those that are up to date, by the same name.
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

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from mlflow import MlflowClient

from memsifter.params import Params
from memsifter.tracking.completion import sync
from memsifter.tracking.records import tracking_uri
from memsifter.tracking.stage_run import track_stage

pytestmark = pytest.mark.slow

DVC_YAML = """
stages:
  data:
    cmd: mkdir -p data/processed/sample && cp source.txt data/processed/sample/questions
    deps: [source.txt]
    outs: [data/processed/sample]
  merge:
    cmd: mkdir -p models/round1 && cp data/processed/sample/questions models/round1/weights
    deps: [data/processed/sample]
    outs: [models/round1]
"""


@pytest.fixture
def pipeline(root: Path, open_pipeline: Callable[[str], Repo]) -> Repo:
    """A pipeline that writes a dataset and a ranker from it, both out of a file that stands for everything."""
    (root / "source.txt").write_text("one")
    return open_pipeline(DVC_YAML)


def run(pipeline: Repo, params: Params, key: str, patch: pytest.MonkeyPatch) -> None:
    """What `make repro` does, with a tracked stage in place of the command's own tracking."""
    patch.setenv("MEMSIFTER_RUN", key)
    pipeline.reproduce()
    with track_stage(params, "merge", {"round_name": "round1"}):
        pass
    sync(params)


def test_a_ranker_is_registered_once_with_what_it_was_made_from(
    pipeline: Repo, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(tracking_uri(params))
    for key in ("run-1", "run-2"):
        run(pipeline, params, key, monkeypatch)
    (version,) = client.search_model_versions("name = 'memsifter-round1'")
    outs = {out.def_path: out.hash_info.value for stage in pipeline.index.stages for out in stage.outs}
    assert version.tags["dvc.md5"] == outs["models/round1"]
    assert version.tags["dvc.data/processed/sample"] == outs["data/processed/sample"]
    assert version.source == "dvc://models/round1"
    assert "`dvc pull merge` writes models/round1" in version.description
    tracked = client.get_run(version.run_id)
    assert tracked.data.tags["stage"] == "merge"
    assert tracked.data.tags["round"] == "round1"


def test_other_weights_are_another_version(
    pipeline: Repo, params: Params, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    run(pipeline, params, "run-1", monkeypatch)
    (root / "source.txt").write_text("two")
    run(pipeline, params, "run-2", monkeypatch)
    versions = MlflowClient(tracking_uri(params)).search_model_versions("name = 'memsifter-round1'")
    assert len({version.tags["dvc.md5"] for version in versions}) == 2


def test_runs_name_the_datasets_they_read_by_dvc_s_hash(
    pipeline: Repo, params: Params, monkeypatch: pytest.MonkeyPatch, runs: Callable[[], list[Any]]
) -> None:
    pipeline.reproduce()
    monkeypatch.setenv("DVC_STAGE", "merge")
    run(pipeline, params, "run-1", monkeypatch)
    (digest,) = (
        out.hash_info.value for stage in pipeline.index.stages for out in stage.outs if out.def_path.startswith("data/")
    )
    recorded = runs()
    assert len(recorded) == 2, "the pipeline and its merge"
    read = {item.data.tags.get("stage", "pipeline"): item.inputs.dataset_inputs for item in recorded}
    for name in ("pipeline", "merge"):
        (dataset,) = (entry.dataset for entry in read[name])
        assert (dataset.name, dataset.digest) == ("sample", digest)
        assert json.loads(dataset.source) == {"path": "data/processed/sample", "md5": digest}

"""DVC experiments side by side: in the workspace, queued, and in a temporary copy, at the same time."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from pipeline_clone import Clone, copy_of, stages_run

from memsifter.io.files import read_json

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1800)]

TARGET = "evaluate_coarse@sample"
METRICS = "results/orders/sample/metrics.json"
# What each experiment changes, and what runs again. `dvc exp run` composes params.yaml from the default profile on.
ORDERING = ["evaluate_coarse@sample", "order@sample"]
EXPERIMENTS = {
    "workspace": ("retrieval.fusion=lexical", ORDERING),
    "queued": ("retrieval.fusion=hand_weighted", ORDERING),
    "temporary": (
        "retrieval.bm25.k1=0.9",
        ["score@sample", "likelihood@sample", "evaluate_coarse@sample", "fit_fusion", "order@sample"],
    ),
}


@pytest.fixture(scope="module")
def clone(coarse_source: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A repository in which the three experiments have run, the last two at the same time."""
    folder = tmp_path_factory.mktemp("experiments")
    clone = copy_of(coarse_source, folder / "clone")
    vectors = _vectors(clone)
    assert vectors
    commands = {name: _command(name, change) for name, (change, _) in EXPERIMENTS.items()}
    output = clone.check(*commands["workspace"], TARGET)
    assert stages_run(output) == set(ORDERING), "only what depends on the change"
    clone.check(*commands["queued"], "--queue", TARGET)
    parallel = clone.start(*commands["temporary"], "--temp", TARGET, log=folder / "temporary.log")
    clone.check("dvc", "--wait-for-lock", "exp", "run", "--run-all", "--jobs", "1")
    assert parallel.wait() == 0, (folder / "temporary.log").read_text()[-6000:]
    assert _vectors(clone) == vectors, "the vectors of the first run served all experiments"
    return clone


def _vectors(clone: Clone) -> list[Path]:
    return sorted((clone.root / ".cache/memsifter/vectors").rglob("*.arrow"))


def _command(name: str, change: str) -> list[str]:
    # Two experiments that end at once wait for each other's commit.
    return ["dvc", "--wait-for-lock", "exp", "run", "--name", name, "-S", "profile=smoke", "-S", change]


@pytest.fixture(scope="module")
def written(clone: Clone) -> dict[str, dict[str, float]]:
    """The content of metrics.json by experiment: it is in git, as a part of the experiment's commit."""
    contents = {}
    for name, revision in _revisions(clone).items():
        contents[name] = json.loads(clone.check("git", "show", f"{revision['rev']}:{METRICS}"))
    return contents


def _revisions(clone: Clone) -> dict[str, Any]:
    """What `dvc exp show` tells, by experiment."""
    return {
        revision["name"]: revision
        for commit in json.loads(clone.check("dvc", "exp", "show", "--json"))
        for experiment in commit["experiments"] or []
        for revision in experiment["revs"]
        if revision["name"] in EXPERIMENTS
    }


def test_experiments_differ(written: dict[str, dict[str, float]]) -> None:
    assert len({json.dumps(metrics) for metrics in written.values()}) > 1


def test_dvc_shows_what_the_experiments_wrote(clone: Clone, written: dict[str, dict[str, float]]) -> None:
    revisions = _revisions(clone)
    assert revisions.keys() == EXPERIMENTS.keys()
    assert {name: revisions[name]["data"]["metrics"][METRICS]["data"] for name in revisions} == written


def test_mlflow_holds_the_same_figures_and_mixes_no_runs(clone: Clone, written: dict[str, dict[str, float]]) -> None:
    client = MlflowClient(f"sqlite:///{clone.root}/mlflow.db")
    experiment = client.get_experiment_by_name("memsifter")
    runs = client.search_runs([experiment.experiment_id])
    for name, metrics in written.items():
        (parent,) = (run for run in runs if run.info.run_name == name)
        expected = {f"test/sample/coarse/{metric}": value for metric, value in metrics.items()}
        assert parent.data.metrics == expected
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert {run.data.tags["dvc_exp"] for run in children} == {name}
        stages = [run.data.tags["stage"] for run in children]
        change, expected_stages = EXPERIMENTS[name]
        assert sorted(stages) == sorted(expected_stages), "each ran once, in its own pipeline run"
        (evaluation,) = (run for run in children if run.data.tags["stage"] == TARGET)
        assert {"ranker": "coarse", "dataset": "sample"}.items() <= evaluation.data.tags.items()
        assert metrics.items() == _of_dataset(evaluation.data.metrics).items()
        key, _, value = change.partition("=")
        assert parent.data.params[key] == value


def test_an_experiment_whose_evaluation_was_cached_gets_its_figures(clone: Clone) -> None:
    # How the weights are cross-validated decides the report alone.
    output = clone.check(*_command("cached", "retrieval.fit.folds=2"), TARGET)
    assert stages_run(output) == {"fit_fusion"}
    clone.check("python", "-m", "memsifter", "track", "experiments")
    client = MlflowClient(f"sqlite:///{clone.root}/mlflow.db")
    experiment = client.get_experiment_by_name("memsifter")
    (parent,) = (run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == "cached")
    metrics = read_json(clone.root / METRICS)
    assert parent.data.metrics == {f"test/sample/coarse/{metric}": value for metric, value in metrics.items()}


def test_copies_have_no_caches_of_their_own(clone: Clone) -> None:
    assert not [path for path in (clone.root / ".dvc/tmp/exps").rglob(".cache") if any(path.iterdir())]


def _of_dataset(metrics: dict[str, Any]) -> dict[str, float]:
    prefix = "test/sample/"
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}

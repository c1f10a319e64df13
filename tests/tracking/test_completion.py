import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from mlflow import MlflowClient

from memsifter.errors import MemSifterError
from memsifter.params import Params
from memsifter.tracking.completion import complete_experiments, sync
from memsifter.tracking.lineage import read_lineage, read_stages, upstream
from memsifter.tracking.records import tracking_uri
from memsifter.tracking.stage_run import track_stage

pytestmark = pytest.mark.slow

Runs = Callable[[], list[Any]]
PROJECT = Path(__file__).resolve().parents[2]
DVC_YAML = """
stages:
  rank:
    matrix:
      ranker: [base]
      dataset: [sample]
    cmd: cp source.json ranking.json
    deps: [source.json]
    params: [seed, rank.max_ranked]
    outs: [ranking.json]
  evaluate:
    matrix:
      ranker: [base]
      dataset: [sample]
    cmd: mkdir -p results/base/sample && cp ranking.json results/base/sample/metrics.json
    deps: [ranking.json]
    params: [evaluate]
    metrics: [results/base/sample/metrics.json]
  summarize:
    cmd: cp results/base/sample/metrics.json summary.json
    deps: [results, note.txt]
    outs: [summary.json]
"""
RANK, EVALUATE, SUMMARIZE = "rank@base-sample", "evaluate@base-sample", "summarize"


@pytest.fixture
def pipeline(root: Path, open_pipeline: Callable[[str], Repo]) -> Repo:
    """Three stages in a DVC repository; none has run yet."""
    (root / "source.json").write_text('{"ndcg@10": 0.5}')
    (root / "note.txt").write_text("one")
    return open_pipeline(DVC_YAML)


@pytest.fixture
def run(pipeline: Repo, params: Params, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs stages as `dvc repro` with a MEMSIFTER_RUN does."""

    def run_stages(key: str, *names: str) -> None:
        monkeypatch.setenv("MEMSIFTER_RUN", key)
        for name in names:
            monkeypatch.setenv("DVC_STAGE", name)
            with track_stage(params, name, {"ranker": "base", "dataset": "sample"}) as tracked:
                tracked.log_metrics({"test/sample/ndcg@10": 0.5} if name == EVALUATE else {"questions": 30})
            monkeypatch.delenv("DVC_STAGE")
            # DVC writes its lock after the command; the stages above are unchanged.
            pipeline.reproduce(name, force=True, single_item=True)

    return run_stages


def _by_stage(runs: Runs, parent: str) -> dict[str, Any]:
    return {run.data.tags["stage"]: run for run in runs() if run.data.tags.get("mlflow.parentRunId") == parent}


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_the_next_stage_completes_a_run_with_what_dvc_then_knows(run: Any, runs: Runs, root: Path) -> None:
    run("run-1", RANK, EVALUATE)
    _, rank, evaluate = runs()
    assert set(rank.data.params) == {"seed", "rank.max_ranked"}
    assert rank.data.tags["dep.source.json"] == _md5(root / "source.json")
    assert rank.data.tags["out.ranking.json"] == _md5(root / "ranking.json")
    assert "dep.ranking.json" not in evaluate.data.tags, "DVC writes its lock when the stage has ended"


def test_sync_completes_the_runs_that_ran(run: Any, runs: Runs, root: Path, params: Params) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    sync(params)
    parent, rank, evaluate, summarize = runs()
    assert "evaluate.split" in evaluate.data.params
    assert evaluate.data.tags["dep.ranking.json"] == rank.data.tags["out.ranking.json"] == _md5(root / "ranking.json")
    assert evaluate.data.tags["out.results/base/sample/metrics.json"] == _md5(root / "ranking.json")
    assert summarize.data.tags["dep.results"].endswith(".dir")
    assert parent.data.metrics == {"test/sample/base/ndcg_at_10": 0.5}
    assert parent.data.tags["out.summary.json"] == _md5(root / "summary.json")


def test_the_pipeline_s_run_has_the_figures_and_hashes_of_what_did_not_have_to_run(
    run: Any, runs: Runs, root: Path, params: Params
) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    sync(params)
    (root / "note.txt").write_text("two")
    run("run-2", SUMMARIZE)
    parent, summarize = runs()[4:]
    assert parent.data.metrics == {"test/sample/base/ndcg_at_10": 0.5}
    assert parent.data.tags["out.ranking.json"] == _md5(root / "ranking.json")
    assert "out.summary.json" not in parent.data.tags, "known only after it ends"
    assert "out.summary.json" not in summarize.data.tags
    assert {run.info.status for run in runs()} == {"FINISHED"}


def test_sync_adds_only_what_is_new(run: Any, runs: Runs, root: Path, params: Params) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    before = len(runs())
    sync(params)
    sync(params)
    assert len(runs()) == before
    assert runs()[-1].data.tags["out.summary.json"] == _md5(root / "summary.json")
    parent = runs()[0].info.run_id
    history = MlflowClient(tracking_uri(params)).get_metric_history(parent, "test/sample/base/ndcg_at_10")
    assert len(history) == 1


def test_figures_that_somebody_else_computed_are_those_of_the_checkout(
    run: Any, runs: Runs, root: Path, params: Params, pipeline: Repo
) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    sync(params)
    (root / "source.json").write_text('{"ndcg@10": 0.75}')
    pipeline.reproduce()  # by someone else: MLflow has no run of it
    run("run-2", SUMMARIZE)
    assert runs()[4].data.metrics == {"test/sample/base/ndcg_at_10": 0.75}


def test_stages_that_are_out_of_date_are_not_counted_in(run: Any, runs: Runs, root: Path, params: Params) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    (root / "source.json").write_text('{"ndcg@10": 0.75}')
    run("run-2", RANK)  # dvc repro rank@base-sample
    sync(params)
    assert set(_by_stage(runs, runs()[4].info.run_id)) == {RANK}
    assert runs()[4].data.metrics == {}


def test_no_run_is_created_when_nothing_ran(
    run: Any, runs: Runs, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("run-1", RANK)
    before = len(runs())
    monkeypatch.setenv("MEMSIFTER_RUN", "run-2")
    sync(params)
    assert len(runs()) == before
    monkeypatch.delenv("MEMSIFTER_RUN")
    with pytest.raises(MemSifterError, match="MEMSIFTER_RUN is not set"):
        sync(params)


def test_an_experiment_gets_what_its_commit_holds(
    run: Any, runs: Runs, root: Path, params: Params, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.check_output(command, cwd=root, text=True).strip()

    def commit_experiment(name: str) -> None:
        git("add", "--all")
        git("commit", "-qm", "experiment")
        commit = git("rev-parse", "HEAD")
        git("update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/{name}", commit)

    git("init", "-q")
    (root / ".gitignore").write_text("mlflow.db*\n.cache\n")
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    (root / "note.txt").write_text("two")
    monkeypatch.setenv("DVC_EXP_NAME", "it's")
    run("run-2", SUMMARIZE)
    monkeypatch.delenv("DVC_EXP_NAME")
    # The evaluation comes from DVC's run-cache, as it does when what it reads was seen before.
    (root / "results/base/sample/metrics.json").write_text('{"ndcg@10": 0.75}')
    commit_experiment("it's")
    monkeypatch.setenv("DVC_EXP_NAME", "a-broken-one")
    monkeypatch.setenv("MEMSIFTER_RUN", "run-3")
    with track_stage(params, "hand", {}):
        (root / "dvc.yaml").write_text("stages: [")
    commit_experiment("a-broken-one")
    (root / "results/base/sample/metrics.json").write_text("the workspace is elsewhere by now")
    complete_experiments(params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"split": "train"})}))
    assert "experiment a-broken-one: its run stays as it is" in caplog.text
    parent = next(run for run in runs() if run.info.run_name == "it's")
    children = _by_stage(runs, parent.info.run_id)
    assert parent.data.metrics == {"test/sample/base/ndcg_at_10": 0.75}
    assert set(children) == {SUMMARIZE}
    assert children[SUMMARIZE].data.tags["out.summary.json"]
    assert children[SUMMARIZE].data.tags["dvc_exp"] == "it's"
    assert parent.data.tags["out.ranking.json"]


@pytest.mark.usefixtures("pipeline")
def test_stages_are_read_as_dvc_resolves_them(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(read_stages()) == [RANK, EVALUATE, SUMMARIZE]
    assert not read_stages()[EVALUATE].outs, "it never ran"
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    monkeypatch.chdir("/")
    stages = read_stages()
    assert set(stages[RANK].params) == {"seed", "rank.max_ranked"}
    assert list(stages[EVALUATE].deps) == ["ranking.json"]
    assert list(upstream(stages, stages[SUMMARIZE].deps)) == [RANK, EVALUATE], "a dep that is a folder of outs"
    assert list(upstream(stages, ["ranking.json"])) == [RANK]
    assert read_lineage("ranking.json") == {}, "neither data nor model"


def test_the_stages_are_those_that_dvc_lists() -> None:
    listed = subprocess.check_output([sys.executable, "-m", "dvc", "stage", "list", "--name-only"], cwd=PROJECT)
    assert list(read_stages()) == listed.decode().split()


@pytest.mark.parametrize("text", ["stages: [", "stages: 5", "stages: {rank: {foreach: '${nothing.here}'}}"])
@pytest.mark.usefixtures("pipeline")
def test_a_broken_pipeline_is_one_error(text: str, root: Path) -> None:
    (root / "dvc.yaml").write_text(text)
    with pytest.raises(MemSifterError, match="cannot be read"):
        read_stages()

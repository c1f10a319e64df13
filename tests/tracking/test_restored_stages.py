import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from memsifter.errors import MemSifterError
from memsifter.params import Params
from memsifter.tracking import record_restored_stages, sync, track_stage
from memsifter.tracking.dvc_stages import read_stages, upstream_names
from memsifter.tracking.experiment import open_experiment

Runs = Callable[[], list[Any]]
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
    """A function that runs stages as `dvc repro` with a MEMSIFTER_RUN does; `inside` is called within the last one."""

    def run_stages(key: str, *names: str, inside: Any = None) -> None:
        monkeypatch.setenv("MEMSIFTER_RUN", key)
        for name in names:
            monkeypatch.setenv("DVC_STAGE", name)
            with track_stage(params, name, {"ranker": "base", "dataset": "sample"}) as tracked:
                tracked.log_metrics({"questions": 30})
                if inside and name == names[-1]:
                    inside(params)
            monkeypatch.delenv("DVC_STAGE")
            # DVC writes its lock after the command; the stages above are unchanged.
            pipeline.reproduce(name, force=True, single_item=True)

    return run_stages


def _by_stage(runs: Runs, parent: str) -> dict[str, Any]:
    return {run.data.tags["stage"]: run for run in runs() if run.data.tags.get("mlflow.parentRunId") == parent}


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_run_has_the_parameters_of_its_stage_and_the_hashes_of_its_inputs(run: Any, runs: Runs, root: Path) -> None:
    run("run-1", RANK, EVALUATE)
    _, rank, evaluate = runs()
    assert set(rank.data.params) == {"seed", "rank.max_ranked"}
    assert "evaluate.split" in evaluate.data.params
    assert evaluate.data.tags["dep.ranking.json"] == _md5(root / "ranking.json")
    assert "dep.source.json" not in rank.data.tags, "DVC has not hashed it yet"


def test_sync_completes_the_runs_that_ran(run: Any, runs: Runs, root: Path, params: Params) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    sync(params)
    parent, rank, evaluate, summarize = runs()
    assert rank.data.tags["dep.source.json"] == _md5(root / "source.json")
    assert rank.data.tags["out.ranking.json"] == _md5(root / "ranking.json")
    assert evaluate.data.tags["out.results/base/sample/metrics.json"] == _md5(root / "ranking.json")
    assert summarize.data.tags["dep.results"].endswith(".dir")
    assert parent.data.metrics == {"test/sample/base/ndcg_at_10": 0.5}
    assert [run.data.tags.get("restored") for run in runs()] == [None] * 4


def test_the_last_stage_records_what_did_not_have_to_run(run: Any, runs: Runs, root: Path, params: Params) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    sync(params)
    (root / "note.txt").write_text("two")
    run("run-2", SUMMARIZE, inside=record_restored_stages)
    parent = runs()[4]
    children = _by_stage(runs, parent.info.run_id)
    assert set(children) == {RANK, EVALUATE, SUMMARIZE}
    for name in (RANK, EVALUATE):
        assert children[name].data.tags["restored"] == "true"
        assert (children[name].data.tags["ranker"], children[name].data.tags["dataset"]) == ("base", "sample")
    assert children[RANK].data.metrics == {"questions": 30}, "of the run that wrote the same outs, without its duration"
    assert children[RANK].data.tags["out.ranking.json"] == _md5(root / "ranking.json")
    assert children[EVALUATE].data.metrics == {"test/sample/ndcg_at_10": 0.5}, "from its results"
    assert set(children[RANK].data.params) == {"seed", "rank.max_ranked"}
    assert "out.summary.json" not in children[SUMMARIZE].data.tags, "known only after it ends"
    assert parent.data.metrics == {"test/sample/base/ndcg_at_10": 0.5}
    assert {run.info.status for run in runs()} == {"FINISHED"}


def test_sync_after_the_last_stage_adds_only_what_is_new(run: Any, runs: Runs, root: Path, params: Params) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE, inside=record_restored_stages)
    before = len(runs())
    sync(params)
    sync(params)
    assert len(runs()) == before
    assert runs()[-1].data.tags["out.summary.json"] == _md5(root / "summary.json")
    parent = runs()[0].info.run_id
    history = open_experiment(params).client.get_metric_history(parent, "test/sample/base/ndcg_at_10")
    assert len(history) == 1


def test_a_run_with_other_outs_lends_no_metrics(
    run: Any, runs: Runs, root: Path, params: Params, pipeline: Repo
) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    sync(params)
    (root / "source.json").write_text('{"ndcg@10": 0.75}')
    pipeline.reproduce()  # by someone else: MLflow has no run of it
    run("run-2", SUMMARIZE, inside=record_restored_stages)
    children = _by_stage(runs, runs()[4].info.run_id)
    assert children[RANK].data.metrics == {}
    assert children[EVALUATE].data.metrics == {"test/sample/ndcg_at_10": 0.75}


def test_results_that_were_never_fetched_are_taken_from_the_earlier_run(
    run: Any, runs: Runs, root: Path, params: Params
) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    sync(params)
    run("run-2", RANK)
    shutil.rmtree(root / "results")
    sync(params)
    children = _by_stage(runs, runs()[4].info.run_id)
    assert children[EVALUATE].data.tags["restored"] == "true"
    assert children[EVALUATE].data.metrics == {"questions": 30}


def test_stages_that_are_out_of_date_are_not_restored(run: Any, runs: Runs, root: Path, params: Params) -> None:
    run("run-1", RANK, EVALUATE, SUMMARIZE)
    (root / "source.json").write_text('{"ndcg@10": 0.75}')
    run("run-2", RANK)  # dvc repro rank@base-sample
    sync(params)
    assert set(_by_stage(runs, runs()[4].info.run_id)) == {RANK}


def test_no_run_is_created_when_nothing_ran(
    run: Any, runs: Runs, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("run-1", RANK)
    before = len(runs())
    monkeypatch.setenv("MEMSIFTER_RUN", "run-2")
    sync(params)
    assert len(runs()) == before
    monkeypatch.delenv("MEMSIFTER_RUN")
    record_restored_stages(params)
    assert len(runs()) == before
    with pytest.raises(MemSifterError, match="MEMSIFTER_RUN is not set"):
        sync(params)


def test_sync_ends_a_run_that_was_killed(run: Any, runs: Runs, params: Params) -> None:
    run("run-1", RANK)
    parent, rank = runs()
    with track_stage(params, EVALUATE, {}) as tracked:
        client = tracked.experiment.client
    client.update_run(tracked.id, status="RUNNING")  # as a process that is killed leaves it
    sync(params)
    parent, rank, killed = runs()
    assert (parent.info.status, rank.info.status, killed.info.status) == ("FAILED", "FINISHED", "FAILED")


@pytest.mark.usefixtures("pipeline")
def test_stages_are_read_as_dvc_resolves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    stages = read_stages()
    assert list(stages) == [RANK, EVALUATE, SUMMARIZE]
    assert stages[RANK].params == ("seed", "rank.max_ranked")
    assert stages[EVALUATE].deps == {"ranking.json": None}
    assert not stages[EVALUATE].recorded
    assert upstream_names(SUMMARIZE) == {RANK, EVALUATE}


@pytest.mark.usefixtures("pipeline")
def test_a_broken_pipeline_is_one_error(root: Path) -> None:
    (root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(MemSifterError, match="DVC cannot read the pipeline"):
        read_stages()

"""Records of stages that wait for MLflow: one that it refuses, of another experiment or database, killed, or broken."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from memsifter.params import Params
from memsifter.tracking.records import Record, new_record, tracking_uri
from memsifter.tracking.stage_run import track_stage
from memsifter.tracking.store import open_experiment

Runs = Callable[[], list[Any]]
PROJECT = Path(__file__).resolve().parents[2]


def _tracking(params: Params, **values: str) -> Params:
    return params.model_copy(update={"tracking": params.tracking.model_copy(update=values)})


def _write(params: Params, stage: str, **values: Any) -> Record:
    """The record of a stage that no process works on any more."""
    record = new_record(params, stage, {})
    record.id = stage
    for name, value in values.items():
        setattr(record, name, value)
    record.write()
    return record


def _waiting(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".cache/memsifter/tracking/records").iterdir())


def test_a_record_that_mlflow_refuses_has_one_run_and_holds_up_no_other(
    root: Path, params: Params, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    _write(params, "data", status="FINISHED", metrics={"not\na name": 1.0})
    for stage in ("order", "score"):
        _write(params, stage, status="FINISHED")
        with open_experiment(params):
            pass
    assert {run.data.tags["stage"]: run.info.status for run in runs()} == {
        "data": "RUNNING",
        "order": "FINISHED",
        "score": "FINISHED",
    }
    assert len(runs()) == 3
    assert "data: its record data waits, MLflow did not take it" in caplog.text
    assert "data.json" in _waiting(root)


def test_records_go_to_the_experiment_that_they_are_of(root: Path, params: Params, runs: Runs) -> None:
    client = MlflowClient(tracking_uri(params))
    experiment = client.get_experiment_by_name(params.tracking.experiment)
    run = client.create_run(experiment.experiment_id, run_name="rank", tags={"stage": "rank"}).info.run_id
    _write(params, "rank", run=run)
    _write(params, "order", status="FINISHED")
    other = _tracking(params, experiment="another")
    with track_stage(other, "embed", {}):
        pass
    assert {run.data.tags["stage"]: run.info.status for run in runs()} == {"rank": "KILLED", "order": "FINISHED"}
    found = client.search_runs([client.get_experiment_by_name("another").experiment_id])
    assert [(run.data.tags["stage"], run.info.status) for run in found] == [("embed", "FINISHED")]
    assert _waiting(root) == []


def test_an_experiment_may_be_renamed_while_a_stage_runs(
    params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    client = MlflowClient(tracking_uri(params))
    with track_stage(params, "rank", {}):
        parent, rank = runs()
        client.rename_experiment(parent.info.experiment_id, "renamed")
    found = client.search_runs([parent.info.experiment_id])
    assert {run.info.run_id: run.info.status for run in found} == {
        parent.info.run_id: "FINISHED",
        rank.info.run_id: "FINISHED",
    }
    assert runs() == [], "the experiment that parameters name is a new one"


def test_records_of_another_mlflow_wait_for_it(
    root: Path, params: Params, runs: Runs, secrets: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    server = _tracking(params, uri=f"http://someone:{secrets[1]}@server:5000")
    record = _write(server, "rank", run="0" * 32)
    with open_experiment(params):
        pass
    assert runs() == []
    assert "rank: its record waits for MLflow at http://***@server:5000" in caplog.text
    assert "rank.json" in _waiting(root)
    assert secrets[1] not in json.dumps(record.__dict__)


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_kill_while_runs_are_created_leaves_none_that_seems_to_go_on(
    killed_after: int, root: Path, params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the pipeline's run was created, or after that of its stage, before either was written down."""
    create, created = MlflowClient.create_run, []

    class Killed(BaseException):
        pass

    def create_and_die(self: MlflowClient, *arguments: Any) -> Any:
        created.append(create(self, *arguments))
        if len(created) == killed_after:
            raise Killed
        return created[-1]

    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", create_and_die)
        with pytest.raises(Killed), track_stage(params, "rank", {}):
            pytest.fail("it was killed before it began")
    assert [run.info.status for run in runs()] == ["RUNNING"] * killed_after
    with open_experiment(params):
        pass
    assert [run.info.status for run in runs()] == ["KILLED"] * 2, "of the pipeline and of its stage"
    assert _waiting(root) == []


def test_files_of_another_version_and_broken_files_stop_nothing(
    root: Path, params: Params, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    _write(params, "order", status="FINISHED")
    folder = root / ".cache/memsifter/tracking/records"
    values = json.loads((folder / "order.json").read_text())
    (folder / "order.json").write_text(json.dumps(values | {"colour": "blue"}))
    del values["experiment"]
    (folder / "old.json").write_text(json.dumps(values))
    (folder / "cut.json").write_text('{"stage": ')
    (folder / "list.json").write_text("[]")
    with open_experiment(params):
        pass
    assert [(run.data.tags["stage"], run.info.status) for run in runs()] == [("order", "FINISHED")]
    assert {"cut.broken", "list.broken", "old.broken"} <= set(_waiting(root))
    assert not [name for name in _waiting(root) if name.endswith(".json")]
    assert "cut.json is no record of a stage, it stays as cut.broken" in caplog.text


def test_a_killed_stage_ended_when_its_record_was_last_written(root: Path, params: Params, runs: Runs) -> None:
    record = _write(params, "order", started=1_700_000_000_000)
    os.utime(root / f".cache/memsifter/tracking/records/{record.id}.json", (1_700_000_060, 1_700_000_060))
    with open_experiment(params):
        pass
    (run,) = runs()
    assert (run.info.status, run.info.end_time - run.info.start_time) == ("KILLED", 60_000)


@pytest.mark.parametrize("stage", ["likelihood@sample", "fit_likelihood"])
def test_stages_that_read_with_the_llm_are_runs_from_their_start(
    stage: str, params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    with track_stage(params, stage, {}):
        assert [run.info.status for run in runs()] == ["RUNNING", "RUNNING"]


@pytest.mark.parametrize("cache", [".cache/memsifter", "elsewhere"])
@pytest.mark.parametrize("runs_a_stage", [True, False])
def test_repro_completes_the_record_if_a_stage_ran(tmp_path: Path, runs_a_stage: bool, cache: str) -> None:
    records = tmp_path / cache / "tracking" / "records"
    records.mkdir(parents=True)
    os.utime(records, (1_700_000_000, 1_700_000_000))
    (tmp_path / "bin").mkdir()
    for name, body in (
        ("python", 'echo "$@"'),
        ("dvc", f"sleep 0.05; touch {records}/1.json" if runs_a_stage else "true"),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    shutil.copy(PROJECT / "scripts/repro.sh", tmp_path)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TMPDIR": "/nonexistent"}
    if cache == "elsewhere":
        environment["MEMSIFTER_CACHE"] = cache
    output = subprocess.check_output(["bash", "repro.sh"], cwd=tmp_path, env=environment, text=True)
    assert ("track sync" in output) == runs_a_stage
    assert {path.name for path in (tmp_path / cache).iterdir()} == {"tracking"}, "the marker is gone"

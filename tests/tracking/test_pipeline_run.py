import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memsifter.params import Params
from memsifter.tracking.lineage import read_revision
from memsifter.tracking.records import pipeline_key
from memsifter.tracking.stage_run import track_stage

pytestmark = pytest.mark.slow

Runs = Callable[[], list[Any]]
PROJECT = Path(__file__).resolve().parents[2]
PRINT_KEY = """
from memsifter.params import load_params
from memsifter.tracking.records import pipeline_key
print(pipeline_key(load_params()))
"""


def test_a_stage_started_by_hand_has_no_parent(root: Path, params: Params, runs: Runs) -> None:
    assert pipeline_key(params) is None
    with track_stage(params, "rank", {"ranker": "base"}):
        pass
    (child,) = runs()
    assert "mlflow.parentRunId" not in child.data.tags
    assert not (root / "mlruns").exists()


def test_the_environment_names_the_pipeline_run(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for name in ("run-1", "run-1", "it's"):
        monkeypatch.setenv("MEMSIFTER_RUN", name)
        keys.append(pipeline_key(params))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.usefixtures("root")
def test_an_experiment_is_one_run_for_its_commit_and_parameters(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "hot-lamb")
    key = pipeline_key(params)
    assert key == pipeline_key(params), "also in another process, after a crash"
    assert key != pipeline_key(params.model_copy(update={"seed": params.seed + 1})), "the name was used again"
    monkeypatch.setenv("DVC_EXP_NAME", "it's")
    assert pipeline_key(params) != key


@pytest.mark.parametrize("shell", ["exec ", ": ; "])
def test_stages_of_one_dvc_process_share_a_key(shell: str, tmp_path: Path) -> None:
    command = f"{shell}{sys.executable} -c {shlex.quote(PRINT_KEY)}"
    starter = tmp_path / "dvc"  # starts stages as DVC does; a shell may become the command or wait for it
    starter.write_text(
        "import os, subprocess\n"
        f"for _ in range(2): subprocess.run(['bash', '-c', {command!r}], env=os.environ | {{'DVC_STAGE': 'rank'}})"
    )
    environment = {"PYTHONPATH": str(PROJECT), "PATH": os.environ["PATH"]}
    keys = [
        subprocess.check_output([sys.executable, str(starter)], env=environment, text=True).split() for _ in range(2)
    ]
    assert [len(set(pair)) for pair in keys] == [1, 1]
    assert keys[0] != keys[1], "another `dvc repro`"


def test_stages_of_one_run_share_a_parent(params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)  # as a user's shell may have it
    for name in ("embed", "rank"):
        with track_stage(params, name, {}):
            parent, child = runs()[0], runs()[-1]
            assert (parent.info.status, child.info.status) == ("RUNNING", "RUNNING")
    monkeypatch.setenv("MEMSIFTER_RUN", "run-2")
    with track_stage(params, "embed", {}):
        pass
    first, embed, rank, second, again = runs()
    assert [run.info.status for run in runs()] == ["FINISHED"] * 5
    assert {embed.data.tags["mlflow.parentRunId"], rank.data.tags["mlflow.parentRunId"]} == {first.info.run_id}
    assert again.data.tags["mlflow.parentRunId"] == second.info.run_id
    assert first.data.params.items() >= embed.data.params.items(), "the parent has all parameters"
    assert first.info.run_name == params.profile, "no Git repository here"


def test_a_failed_stage_fails_the_pipeline_run_until_it_is_repeated(
    params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    with pytest.raises(ValueError, match="boom"), track_stage(params, "rank", {}):
        raise ValueError("boom")
    with track_stage(params, "embed", {}):
        pass
    assert [run.info.status for run in runs()] == ["FAILED", "FAILED", "FINISHED"]
    with track_stage(params, "rank", {}):
        pass
    assert [run.info.status for run in runs()] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]


def _run_stages(params: Params, worker: int) -> None:
    for number in range(4):
        with track_stage(params, f"rank@{worker}-{number}", {}) as run:
            run.log_metrics({f"metric {index}": index for index in range(50)})


def test_processes_that_log_at_once_share_one_parent(
    params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run_stages, args=(params, worker)) for worker in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    parents = [run for run in runs() if "memsifter.pipeline_run" in run.data.tags]
    children = [run for run in runs() if "stage" in run.data.tags]
    assert len(parents) == 1
    assert len(children) == 12
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.info.status for run in runs()} == {"FINISHED"}
    assert {len(run.data.metrics) for run in children} == {51}, "50 and the duration"


def test_the_name_tells_commit_and_changes(
    root: Path, params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=root, check=True)

    for name in ("code.py", "dvc.lock"):
        (root / name).write_text("schema: one\n")
    git("init", "-q")
    git("add", "code.py", "dvc.lock")
    git("commit", "-qm", "first")
    (root / "dvc.lock").write_text("schema: two\n")
    revision = read_revision()
    assert revision is not None
    assert not revision.dirty, "DVC's own writing is no change"
    (root / "code.py").write_text("two\n")
    with track_stage(params, "rank", {}):
        pass
    parent, child = runs()
    assert parent.info.run_name == f"{params.profile} {revision.commit[:7]}+changes"
    assert child.data.tags["mlflow.source.git.commit"] == revision.commit
    assert child.data.tags["git.dirty"] == "true"


@pytest.mark.parametrize("name", ["hot-lamb", "it's", """it's_"5%"""])
def test_an_experiment_gives_its_name(name: str, params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", name)
    for _ in range(2):
        with track_stage(params, "rank", {}):
            pass
    parent, *children = runs()
    assert parent.info.run_name == name
    assert [child.data.tags["dvc_exp"] for child in children] == [name, name]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}


DIE = """
import os, signal, sys
from pathlib import Path
from memsifter.io import paths
from memsifter.params import load_params
params = load_params()
paths.ROOT = Path(sys.argv[1])
from memsifter.tracking.stage_run import track_stage
with track_stage(params, "rank", {}):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_run_marks_runs_that_were_killed(
    root: Path, params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", DIE, str(root)], cwd=PROJECT, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [run.info.status for run in runs()] == ["RUNNING", "RUNNING"]
    monkeypatch.setenv("MEMSIFTER_RUN", "run-2")
    with track_stage(params, "rank", {}):
        with track_stage(params, "embed", {}):  # beside it: both live
            pass
        assert [run.info.status for run in runs()] == ["KILLED", "KILLED", "RUNNING", "RUNNING", "FINISHED"]
    assert not list((root / ".cache/memsifter/tracking/records").iterdir())


def test_a_short_stage_is_recorded_by_the_next_one_that_opens_mlflow(
    root: Path, params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    for name in ("models@base", "order@sample"):
        with track_stage(params, name, {"dataset": "sample"}) as run:
            run.log_metrics({"questions": 30})
    assert runs() == []
    with track_stage(params, "rank", {}):
        parent, models, order, rank = runs()
    assert [run.info.status for run in (parent, models, order, rank)] == ["RUNNING", "FINISHED", "FINISHED", "RUNNING"]
    assert order.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert order.data.tags["dataset"] == "sample"
    assert order.data.metrics["questions"] == 30
    duration = (order.info.end_time - order.info.start_time) / 1000
    assert order.data.metrics["duration_s"] == duration, "as long as it ran, however late that is known"
    assert not list((root / ".cache/memsifter/tracking/records").iterdir())


def test_a_short_stage_that_fails_is_recorded_at_once(
    params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    with pytest.raises(ValueError, match="boom"), track_stage(params, "order", {}):
        raise ValueError("boom")
    assert [run.info.status for run in runs()] == ["FAILED", "FAILED"]
    assert runs()[1].data.tags["error"] == "ValueError"


SHORT = """
import sys
from pathlib import Path
from memsifter.io import paths
from memsifter.params import load_params
params = load_params()
paths.ROOT = Path(sys.argv[1])
from memsifter.tracking.stage_run import track_stage
with track_stage(params, "order", {}):
    pass
print({"mlflow", "dvc", "ray"} & sys.modules.keys())
"""


def test_a_short_stage_imports_no_mlflow(root: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "MEMSIFTER_RUN": "run-1"}
    command = [sys.executable, "-c", SHORT, str(root)]
    assert subprocess.check_output(command, cwd=PROJECT, env=environment, text=True) == "set()\n"

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from training_inputs import ENGINE, LOCAL, train_params

from memsifter.errors import MemSifterError
from memsifter.params import ClusterParams
from memsifter.training import jobs, launch, trainer
from memsifter.training.run_directory import RunDirectory

TRAINER = Path(__file__).parents[1] / "scripted_trainer.py"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def script_trainer(monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    """A script in the place of verl's trainer."""
    monkeypatch.setattr(trainer, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(
        launch, "verl_command", lambda _, config: [sys.executable, str(TRAINER), str(config), behaviour]
    )


def train(
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str = "work",
    cluster: ClusterParams = LOCAL,
    **changes: Any,
) -> list[tuple[int, Mapping[str, float]]]:
    """Train with the scripted trainer in verl's place; returns the calls of `on_step`."""
    params = train_params(**changes)
    script_trainer(monkeypatch, behaviour)
    config: DictConfig = OmegaConf.create(
        {"trainer": {"total_training_steps": params.steps}, "ray_kwargs": {"ray_init": {"runtime_env": {}}}}
    )
    seen: list[tuple[int, Mapping[str, float]]] = []
    launch.run_training(config, params, ENGINE, cluster, run, lambda step, metrics: seen.append((step, metrics)))
    return seen


def test_every_step_is_reported_with_its_metrics(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = train(run, monkeypatch)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert seen[2][1]["critic/rewards/mean"] == 0.2
    assert run.latest_step() == 2


def test_an_interrupted_run_goes_on_and_reports_the_earlier_steps_first(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemSifterError, match="training ended with code 3 after step 2"):
        train(run, monkeypatch, "die after 2", steps=4)
    seen = train(run, monkeypatch, steps=4)
    assert [step for step, _ in seen] == [0, 1, 2, 3, 4]
    second = OmegaConf.load(run.attempt("yaml", 2))
    assert second.trainer.val_before_train is False  # step 2 was tested in the first attempt


def test_a_complete_run_is_not_started_again(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    train(run, monkeypatch)
    assert [step for step, _ in train(run, monkeypatch, "crash")] == [0, 1, 2]
    assert run.attempts() == 1


def test_the_last_step_is_tested_again_when_its_validation_was_lost(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run, monkeypatch)
    log = run.attempt("jsonl", 1)
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    train(run, monkeypatch)
    assert OmegaConf.load(run.attempt("yaml", 2)).trainer.val_before_train is True


def test_a_process_that_dies_when_all_is_done_takes_nothing_along(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert [step for step, _ in train(run, monkeypatch, "die at the end")] == [0, 1, 2]
    assert "training is complete, but its process ended with code" in caplog.text


def test_a_crash_is_told_with_its_reason(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemSifterError, match="code 1 after step 0: RuntimeError: the model is too large"):
        train(run, monkeypatch, "crash")


def test_a_failed_reward_is_told_with_the_rewards_own_error(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemSifterError, match="MemSifterError: the endpoint is down"):
        train(run, monkeypatch, "failed reward")


def test_a_run_that_lost_workers_for_want_of_memory_is_stopped_at_once(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemSifterError, match=r"training was stopped: the machine had no memory left.*memsifter plan"):
        train(run, monkeypatch, "out of memory")


def test_on_a_cluster_the_workers_may_have_been_somebody_elses(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemSifterError, match=r"no step finished for 0\.1 minutes"):
        train(run, monkeypatch, "out of memory", ClusterParams(address="10.0.0.1:6379"), stall_minutes=0.1)
    assert "killed due to memory pressure" in run.attempt("log", 1).read_text()


def test_a_run_that_stalls_is_stopped(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemSifterError, match=r"no step finished for 0\.01 minutes"):
        train(run, monkeypatch, "hang", stall_minutes=0.01)


def test_an_error_of_the_callback_stops_training(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[jobs.LocalJob] = []
    stop = jobs.LocalJob.stop

    def note_and_stop(job: jobs.LocalJob) -> None:
        stopped.append(job)
        stop(job)

    monkeypatch.setattr(jobs.LocalJob, "stop", note_and_stop)
    script_trainer(monkeypatch, "work")
    config = OmegaConf.create({"trainer": {"total_training_steps": 2}, "ray_kwargs": {"ray_init": {"runtime_env": {}}}})

    def refuse(step: int, metrics: Mapping[str, float]) -> None:
        raise MemSifterError(f"no tracking server for step {step} and {len(metrics)} metrics")

    with pytest.raises(MemSifterError, match="no tracking server for step 0"):
        launch.run_training(config, train_params(), ENGINE, LOCAL, run, refuse)
    assert [job.poll() is not None for job in stopped] == [True]


def test_two_runs_do_not_train_in_one_directory(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.path.mkdir()
    with FileLock(run.path / ".lock"), pytest.raises(MemSifterError, match="training already runs here"):
        train(run, monkeypatch)


def test_a_training_on_this_machine_keeps_others_out(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_file = run.path.parent / "training.lock"
    monkeypatch.setattr(launch, "training_lock", partial(trainer.training_lock, lock_file=lock_file))
    follow = trainer.follow

    def follow_alone(*arguments: Any) -> int:
        with pytest.raises(Timeout), FileLock(lock_file, timeout=0):
            pass
        return follow(*arguments)

    monkeypatch.setattr(launch, "follow", follow_alone)
    assert [step for step, _ in train(run, monkeypatch)] == [0, 1, 2]
    with FileLock(lock_file, timeout=0):
        pass

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memsifter.errors import MemSifterError
from memsifter.llm.runtime import heed_variables
from memsifter.params import ClusterParams
from memsifter.training import jobs
from memsifter.training.ray_command import find_shortage
from memsifter.training.trainer import verl_command


class JobServer:
    """Ray's job client, with a script of the states that a job goes through."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.submitted: dict[str, Any] = {}
        self.stopped = False
        self.others: list[Any] = []

    def submit_job(self, **request: Any) -> str:
        self.submitted = request
        return "raysubmit_1"

    def get_job_status(self, _: str) -> Any:
        from ray.job_submission import JobStatus

        return JobStatus(self.states.pop(0) if len(self.states) > 1 else self.states[0])

    def list_jobs(self) -> list[Any]:
        return self.others

    def get_job_logs(self, _: str) -> str:
        return "ValueError: out of memory\n"

    def stop_job(self, _: str) -> None:
        self.stopped = True


def submit(server: JobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> jobs.RayJob:
    import ray.job_submission

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", {"http://head:8265": server}.__getitem__)
    command = verl_command("verl.trainer.main_ppo", tmp_path / "attempt 1.yaml")
    return jobs.RayJob("http://head:8265", "run1", command, tmp_path / "log", {"VERL_PLATFORM": "cpu"})


def test_a_job_is_submitted_with_the_trainers_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = JobServer("PENDING", "RUNNING", "SUCCEEDED")
    job = submit(server, tmp_path, monkeypatch)
    assert "'attempt 1'" in server.submitted["entrypoint"]
    assert server.submitted["runtime_env"]["env_vars"]["VERL_PLATFORM"] == "cpu"
    assert [job.poll(), job.poll(), job.poll()] == [None, None, 0]
    assert (tmp_path / "log").read_text() == "ValueError: out of memory\n"


def test_a_head_that_has_just_started_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, refusals = JobServer("SUCCEEDED"), ["No available agent to submit job, please try again later."] * 2
    submit_job = server.submit_job

    def refuse(**request: Any) -> str:
        if refusals:
            raise RuntimeError(refusals.pop())
        return submit_job(**request)

    monkeypatch.setattr(server, "submit_job", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert submit(server, tmp_path, monkeypatch).poll() == 0
    monkeypatch.setattr(jobs, "_AGENT_SECONDS", -1)
    refusals.append("No available agent to submit job")
    with pytest.raises(MemSifterError, match=r"did not accept the job \(.*No available agent"):
        submit(server, tmp_path, monkeypatch)


def test_a_run_that_a_job_still_trains_is_not_trained_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = JobServer("SUCCEEDED")
    submit(server, tmp_path, monkeypatch)
    assert server.submitted["metadata"] == {"memsifter_run": "run1"}
    from ray.job_submission import JobStatus

    other = SimpleNamespace(metadata={"memsifter_run": "run1"}, status=JobStatus.RUNNING, submission_id="raysubmit_0")
    server.others = [SimpleNamespace(metadata=None, status=JobStatus.RUNNING, submission_id="x"), other]
    with pytest.raises(MemSifterError, match="ray job stop raysubmit_0"):
        submit(server, tmp_path, monkeypatch)
    other.status = JobStatus.FAILED
    submit(server, tmp_path, monkeypatch)


def test_a_job_server_may_be_away_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = JobServer("RUNNING", "RUNNING", "SUCCEEDED")
    job = submit(server, tmp_path, monkeypatch)
    answer = server.get_job_status

    def away(_: str) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(server, "get_job_status", away)
    assert [job.poll() for _ in range(3)] == [None] * 3
    monkeypatch.setattr(server, "get_job_status", answer)
    assert [job.poll() for _ in range(3)] == [None, None, 0]
    monkeypatch.setattr(server, "get_job_status", away)
    monkeypatch.setattr(jobs, "_LOST_POLLS", 2)
    assert [job.poll() for _ in range(2)] == [None] * 2
    with pytest.raises(MemSifterError, match="does not answer any more"):
        job.poll()


def test_a_failed_job_has_an_exit_code_and_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert submit(JobServer("FAILED"), tmp_path, monkeypatch).poll() == 1
    assert "out of memory" in (tmp_path / "log").read_text()


def test_a_job_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = JobServer("RUNNING", "STOPPED")
    submit(server, tmp_path, monkeypatch).stop()
    assert server.stopped


def test_the_files_own_variables_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "runtime_env.yaml"
    file.write_text("pip: [x]\nenv_vars: {A: file}\n")
    monkeypatch.setattr(jobs, "RUNTIME_ENVIRONMENT", file)
    environment = jobs.job_environment({"A": "ours", "B": "ours"})
    assert environment["pip"] == ["x"]
    assert (environment["env_vars"]["A"], environment["env_vars"]["B"]) == ("file", "ours")


def test_a_job_server_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"cluster\.job_server: http://127\.0\.0\.1:9 did not accept"):
        jobs.RayJob("http://127.0.0.1:9", "run1", ["python"], tmp_path / "log", {})


def start(cluster: ClusterParams, tmp_path: Path, gpus: int = 0) -> str:
    """What a command that prints RAY_ADDRESS prints where `cluster` says."""
    command = [sys.executable, "-c", "import os; print(os.environ.get('RAY_ADDRESS'))"]
    log = tmp_path / "log"
    job = jobs.start_job(cluster, "run", command, log, {}, patience=5, death_signal=signal.SIGKILL, gpus=gpus)
    while job.poll() is None:
        time.sleep(0.05)
    return log.read_text().strip()


def test_ray_address_is_used_where_the_cluster_is_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert start(ClusterParams(address="auto"), tmp_path) == "10.0.0.1:6379"
    assert start(ClusterParams(), tmp_path) == "None"
    assert start(ClusterParams(address="10.0.0.2:6379"), tmp_path) == "None"
    assert start(ClusterParams(), tmp_path, gpus=1) == "None"  # this machine's GPUs: no cluster is asked for them


def test_variables_that_are_not_used_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    heed_variables(ClusterParams(address="auto", job_server=None))
    assert "CUDA_VISIBLE_DEVICES of this machine does not choose" in caplog.text
    assert "RAY_ADDRESS" not in caplog.text
    heed_variables(ClusterParams())
    assert "RAY_ADDRESS=10.0.0.1:6379 is not used: cluster.address is null" in caplog.text
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    with pytest.raises(MemSifterError, match=r"that is a job server .*give it as cluster\.job_server"):
        heed_variables(ClusterParams(address="auto"))


def test_a_cluster_without_a_machine_with_the_gpus_is_one_line() -> None:
    def node(gpus: int, cpus: int, *, alive: bool = True) -> dict[str, Any]:
        return {"Alive": alive, "Resources": {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})}

    assert find_shortage([node(0, 16), node(4, 8)], 4) is None
    problem = find_shortage([node(4, 2), node(0, 16), node(2, 8), node(8, 8, alive=False)], 4)
    assert problem is not None
    assert problem.startswith("no machine of the cluster has 4 GPUs and 4 CPUs (GPUs and CPUs of each: 4 and 2, 0 and ")

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memsifter.errors import MemSifterError
from memsifter.training import jobs
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
    assert jobs.job_environment({"A": "ours", "B": "ours"}) == {"pip": ["x"], "env_vars": {"A": "file", "B": "ours"}}


def test_a_job_server_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"cluster\.job_server: http://127\.0\.0\.1:9 did not accept"):
        jobs.RayJob("http://127.0.0.1:9", "run1", ["python"], tmp_path / "log", {})

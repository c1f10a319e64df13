import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from memsifter.errors import MemSifterError
from memsifter.params import Params
from memsifter.tracking.records import tracking_uri
from memsifter.tracking.stage_run import track_stage
from memsifter.tracking.store import find_runs, open_experiment

Runs = Callable[[], list[Any]]


def _with_uri(params: Params, uri: str | None) -> Params:
    return params.model_copy(update={"tracking": params.tracking.model_copy(update={"uri": uri})})


def test_a_run_holds_tags_parameters_metrics_and_duration(params: Params, runs: Runs) -> None:
    with track_stage(params, "rank", {"ranker": "base", "dataset": "sample"}) as run:
        run.log_metrics({"ndcg@10": 0.5, "questions": 30})
    (child,) = runs()
    assert child.info.run_name == "rank"
    assert child.info.status == "FINISHED"
    tags = {"stage": "rank", "ranker": "base", "dataset": "sample", "profile": params.profile}
    assert tags.items() <= child.data.tags.items()
    assert child.data.params["rank.max_ranked"] == str(params.rank.max_ranked)
    assert child.data.metrics["ndcg_at_10"] == 0.5
    assert child.data.metrics["duration_s"] >= 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "FAILED"),
        (MemSifterError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(3), "FAILED"),
    ],
)
def test_every_way_to_fail_is_recorded(error: BaseException, status: str, params: Params, runs: Runs) -> None:
    with pytest.raises(type(error)), track_stage(params, "rank", {}):
        raise error
    (child,) = runs()
    assert child.info.status == status
    assert child.data.tags["error"] == type(error).__name__


def test_steps_are_logged_as_a_curve_while_the_stage_runs(params: Params, runs: Runs) -> None:
    with track_stage(params, "train", {}) as run:
        for step in (1, 2):
            run.log_step(step, {"val-core/sample/reward/mean@1": step / 10})
            (child,) = runs()
            assert child.data.metrics["val-core/sample/reward/mean_at_1"] == step / 10
        history = MlflowClient().get_metric_history(run.run, "val-core/sample/reward/mean_at_1")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]


def test_a_step_that_cannot_be_logged_stops_the_stage(params: Params, root: Path) -> None:
    def train() -> None:
        with track_stage(params, "train", {}) as run:
            run.log_step(1, {"reward": 0.1})
            (root / "mlflow.db").write_bytes(b"no database")
            run.log_step(2, {"reward": 0.2})

    with pytest.raises(MemSifterError, match=r"MLflow at sqlite:.* cannot be used"):
        train()
    assert mlflow.active_run() is None, "nothing is left to end when Python exits"


def test_a_metric_that_is_not_a_number_fails_the_stage(params: Params, runs: Runs) -> None:
    with pytest.raises(MemSifterError, match="metric loss is nan"), track_stage(params, "rank", {}) as run:
        run.log_metrics({"loss": float("nan")})
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_long_values_and_many_metrics_fit(params: Params, runs: Runs) -> None:
    instruction = params.embed.model_copy(update={"query_instruction": "Find what helps. " * 600})
    models = {f"model-{index}": params.models["base"] for index in range(120)}
    long = params.model_copy(update={"embed": instruction, "models": models})
    with track_stage(long, "embed", {"note": "y" * 9000}) as run:
        run.log_metrics({f"m{index}": index for index in range(1500)})
    (child,) = runs()
    assert len(child.data.params["embed.query_instruction"]) == 6000
    assert child.data.params["models.model-119.ref"] == params.models["base"].ref
    assert len(child.data.tags["note"]) == 8000
    assert len(child.data.metrics) == 1501


def test_no_secret_reaches_the_database(
    root: Path, params: Params, secrets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
    monkeypatch.setenv("OPENAI_API_KEY", secrets[0])
    with track_stage(params, "chat", {"dataset": "sample"}) as run:
        run.log_metrics({"token_f1": 0.5})
    with pytest.raises(ValueError, match="sk-"), track_stage(params, "chat", {"dataset": "sample"}):
        raise ValueError(f"Incorrect API key provided: {os.environ['OPENAI_API_KEY']}")
    stored = b"".join(path.read_bytes() for path in root.glob("mlflow.db*"))
    assert b"OPENAI_API_KEY" in stored, "the name of the variable is a parameter; so the search does find text"
    assert b"data.example.org" in stored
    assert [secret for secret in secrets if secret.encode() in stored] == []


def test_where_runs_are_recorded(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(_with_uri(params, None)) == f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert tracking_uri(_with_uri(params, None)) == f"sqlite:///{root}/other.db"
    assert tracking_uri(_with_uri(params, "http://server:5000")) == "http://server:5000"
    assert tracking_uri(_with_uri(params, "sqlite:////data/runs.db")) == "sqlite:////data/runs.db"


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql", "mysql+pymysql"])
@pytest.mark.usefixtures("root")
def test_a_server_that_is_down_is_one_quick_error(scheme: str, params: Params, secrets: tuple[str, ...]) -> None:
    secret = secrets[1]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    down = _with_uri(params, f"{scheme}://someone:{secret}@127.0.0.1:{port}/runs")
    started = time.monotonic()
    with pytest.raises(MemSifterError) as raised, track_stage(down, "rank", {}):
        pass
    assert time.monotonic() - started < 20
    assert f"{scheme}://***@127.0.0.1:{port}/runs cannot be used: [Errno 111] Connection refused" in str(raised.value)
    assert secret not in str(raised.value)


@pytest.mark.usefixtures("root")
def test_a_server_that_never_answers_is_one_quick_error(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # the user's setting is kept
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = _with_uri(params, f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(MemSifterError, match=r"cannot be used: .*timed out"), track_stage(silent, "rank", {}):
            pass
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:////proc/nowhere/mlflow.db", "No such file or directory"),
        ("file:///tmp/mlruns", "filesystem tracking backend"),
        ("ftp://server/runs", "unsupported URI"),
    ],
)
@pytest.mark.usefixtures("root")
def test_a_wrong_uri_is_one_error(uri: str, reason: str, params: Params) -> None:
    with pytest.raises(MemSifterError, match=reason) as raised, open_experiment(_with_uri(params, uri)):
        pass
    assert uri in str(raised.value)


@pytest.mark.usefixtures("root")
def test_a_deleted_experiment_is_named(params: Params) -> None:
    with open_experiment(params):
        MlflowClient().delete_experiment(mlflow.get_experiment_by_name(params.tracking.experiment).experiment_id)
    with (
        pytest.raises(MemSifterError, match=f"deleted experiment '{params.tracking.experiment}'.* restore"),
        open_experiment(params),
    ):
        pass


@pytest.mark.usefixtures("root")
def test_a_stage_outlives_the_loss_of_mlflow(params: Params, caplog: pytest.LogCaptureFixture) -> None:
    with track_stage(params, "rank", {}) as run:
        MlflowClient().delete_run(run.run)
        run.log_metrics({"ndcg@10": 0.5})
    assert "lost" in caplog.text


def test_mlflow_sends_no_usage_data() -> None:
    script = "import memsifter.tracking.store; from mlflow.telemetry import get_telemetry_client as g; print(g())"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
    }  # MLflow also keeps quiet under CI and pytest
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [("memsifter.tracking.stage_run", {"mlflow", "dvc", "ray"}), ("memsifter.tracking.completion", {"dvc", "ray"})],
)
def test_what_takes_seconds_to_import_is_imported_when_it_is_used(module: str, unwanted: set[str]) -> None:
    script = f"import sys, {module}; print(*sorted({unwanted} & sys.modules.keys()))"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True).strip() == ""


@pytest.mark.slow
def test_the_load_of_the_machine_is_logged_while_a_stage_runs(
    params: Params, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    with track_stage(params, "rank", {}):
        time.sleep(3)
    (child,) = runs()
    assert 0 < child.data.metrics["system/system_memory_usage_percentage"] < 100
    assert "system/cpu_utilization_percentage" in child.data.metrics


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_are_recorded_on_a_tracking_server(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    backend = f"sqlite:///{root / 'mlflow.db'}"
    options = ["--backend-store-uri", backend, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "mlflow", "server", *options]
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        remote = _with_uri(params, f"http://127.0.0.1:{port}")
        _wait_for(port, server)
        monkeypatch.setenv("MEMSIFTER_RUN", "run-1")
        with track_stage(remote, "rank", {"ranker": "base"}) as run:
            run.log_metrics({"ndcg@10": 0.5})
        with open_experiment(remote):
            parent, child = find_runs()
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.metrics["ndcg_at_10"] == 0.5
        assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # with its workers, which are slow to leave
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError("the server did not answer")

"""What `make repro` finds before the first stage that validation alone does not see."""

import copy
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from memsifter import preflight
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import Params, parse_params
from memsifter.preflight import check_devices, check_files, count_gpus, has_gpu

OF_STAGES = {"bm25s", "jieba", "mlflow", "numba", "openai", "pandas", "ray", "scipy", "torch", "transformers"}
DEFAULT = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def params_with(changes: dict[str, Any]) -> Params:
    values = copy.deepcopy(DEFAULT)
    for key, value in changes.items():
        section = values
        *path, last = key.split(".")
        for part in path:
            section = section[part]
        section[last] = value
    return parse_params(values)


def test_the_default_passes() -> None:
    check_files(params_with({}))
    check_devices(params_with({}))


def test_what_only_stages_need_is_not_imported() -> None:
    code = f"""
import sys
from memsifter.params import load_params
from memsifter.preflight import check_files

check_files(load_params())
print(*sorted({OF_STAGES} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rank.prompts.chat", "rankr", "rankr.yaml: no such prompt; prompts there: chat"),
        ("retrieval.likelihood.prompt", "ranker", "ranker.yaml: context: Field required"),
        ("chat.prompts.deep_research", "nothing", "nothing.yaml: no such prompt"),
        ("chat.prompts.chat", "ranker", "ranker.yaml: "),
        ("models.base.ref", "hff:some/model", "model reference 'hff:some/model' is not understood"),
        ("rank.context_tokens", 20, "rank.context_tokens is 20, but the prompt alone, without sessions and question"),
        ("chat.context_tokens", 1, "chat.context_tokens is 1, but the prompt alone"),
        ("train.overrides", ["a=["], "train.overrides: 'a=[' is not an override"),
        ("train.overrides", ["a"], "train.overrides: 'a' is not an override"),
        ("train.overrides", ["~a"], "train.overrides: '~a': only key=value and +key=value"),
        ("train.overrides", ["a=1,2"], "train.overrides: 'a=1,2': only key=value and +key=value"),
    ],
)
def test_what_a_stage_would_fail_at_later(key: str, value: Any, expected: str) -> None:
    with pytest.raises(MemSifterError) as caught:
        check_files(params_with({key: value}))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(has_gpu(), reason="needs a machine without GPU")
@pytest.mark.parametrize("key", ["rank.engine.device", "chat.engine.device", "train.device"])
def test_cuda_without_a_gpu(key: str) -> None:
    with pytest.raises(MemSifterError, match=f"{key} of params.yaml ask for a GPU, and this machine shows none"):
        check_devices(params_with({key: "cuda"}))
    check_devices(params_with({key: "cuda"}), ["data"])


@pytest.mark.skipif(has_gpu(), reason="needs a machine without GPU")
@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_what_no_ray_runs_needs_a_gpu_of_this_machine(address: str | None) -> None:
    on_gpu = {"model": "base", "datasets": ["sample"], "device": "cuda"}
    untrained: dict[str, Any] = {"rounds": {}, "matrix.rankers": ["base"], "rank.train_rankers": []}
    untrained["cluster.address"] = address
    for changes, key in (
        ({"retrieval.likelihood.fits": {"tuned": on_gpu}}, "retrieval.likelihood.fits.tuned.device"),
        ({"chat.engine.device": "cuda"}, "chat.engine.device"),
    ):
        with pytest.raises(MemSifterError, match=f"{key} of params.yaml ask for a GPU, and this machine shows none"):
            check_devices(params_with(untrained | changes))


def test_the_gpus_of_a_cluster_are_not_those_of_this_machine() -> None:
    untrained = {"rounds": {}, "matrix.rankers": ["base"], "rank.train_rankers": []}
    check_devices(params_with(untrained | {"rank.engine.device": "cuda", "cluster.address": "10.0.0.1:6379"}))
    check_devices(params_with({"chat.engine.device": "cuda", "chat.base_url": "http://localhost:8000/v1"}))


def test_a_gpu_is_seen_by_its_files_and_may_be_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia3").touch()
    assert has_gpu(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not has_gpu(tmp_path)


@pytest.mark.parametrize(
    ("files", "variable", "count"),
    [
        (["nvidia0", "nvidia1", "nvidia2"], None, 3),
        (["nvidia0", "nvidia1", "nvidia2"], "0,2", 2),
        (["nvidia0"], "0,1", 1),
        (["nvidia0"], "-1", 0),
        (["dxg"], None, None),
        (["dxg"], "GPU-8f1c", 1),
        ([], "0", 0),
    ],
)
def test_visible_gpus_are_counted(
    files: list[str], variable: str | None, count: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    for name in files:
        (tmp_path / name).touch()
    assert count_gpus(tmp_path) == count


def test_more_gpus_than_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "count_gpus", lambda: 1)
    monkeypatch.setattr(preflight, "has_gpu", lambda: True)
    with pytest.raises(MemSifterError, match=r"gpus_per_node is 2, but this machine shows 1 GPU.*CUDA_VISIBLE_DEVICES"):
        check_devices(params_with({"train.device": "cuda", "train.gpus_per_node": 2}))
    check_devices(params_with({"train.device": "cuda"}))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (
            "postgresql://me:hidden@host/runs",
            "server --host 127.0.0.1 --port {port} of postgresql://me:hidden@host/runs",
        ),
        ("https://me:hidden@host/mlflow", "runs are on your server: https://host/mlflow"),
        ("https://host/mlflow", "runs are on your server: https://host/mlflow"),
    ],
)
def test_a_password_of_the_store_is_on_no_command_line_and_not_printed(uri: str, shown: str, tmp_path: Path) -> None:
    server = tmp_path / "mlflow"  # stands in for MLflow's command
    server.write_text('#!/bin/sh\necho "$@" of "$MLFLOW_BACKEND_STORE_URI"\n', encoding="utf-8")
    server.chmod(0o755)
    path = os.pathsep.join((str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PATH": path}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = ["bash", "scripts/mlflow.sh", port]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == shown.format(port=port)


@pytest.mark.slow
def test_a_taken_port_is_one_line_and_not_a_success() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = ["bash", "scripts/mlflow.sh", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"memsifter: error: port {port} cannot be used (taken?)")

"""The parts of bench.gpu that run without a GPU, so that nothing is found broken on a rented one."""

import subprocess
import sys
from pathlib import Path

import pytest

from memsifter.io.paths import ROOT
from memsifter.models.tiny import write_tiny_model


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench.gpu", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_needs_no_gpu() -> None:
    assert "--device {cuda,cpu}" in run("--help")


@pytest.mark.slow
def test_attention_and_a_missing_embedder(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    sizes = ["--device", "cpu", "--prompt-tokens", "64", "--shape", str(tmp_path / "tiny")]
    said = run("attention", "embed", *sizes)
    for figure in ("one at a time s", "packed s", "planned activations and checkpoints GiB"):
        assert f"attention: {figure}: " in said
    assert "embed: skipped: give --embedder" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_engine_against_offline_generation() -> None:
    said = run("engine", "--device", "cpu", "--prompts", "8", "--prompt-tokens", "160")
    assert "engine: offline tokens/s: " in said
    assert "engine: pipeline tokens/s, start included: " in said
    share = float(said.partition("from the prefix cache: ")[2].splitlines()[0])
    assert 0 <= share <= 0.9


@pytest.mark.slow
@pytest.mark.timeout(3600)  # it waits for every other training on this machine
def test_a_stopped_run_is_resumed_collected_and_merged() -> None:
    said = run("train", "--device", "cpu")
    assert "train: attempts: 2" in said
    assert "train: checkpoints: [" in said

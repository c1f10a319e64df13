"""The parts of bench.gpu that run without a GPU, so that nothing is found broken on a rented one."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from bench.gpu.setup import Setup
from memsifter.io.paths import ROOT
from memsifter.models.tiny import write_tiny_model


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench.gpu", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_needs_no_gpu() -> None:
    assert "--device {cuda,cpu}" in run("--help")


def test_a_random_model_of_a_shape_has_all_that_training_asks_of_one(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    model = Setup("cpu", 16, 320, tmp_path / "tiny", None, tmp_path).write_model(352)
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "which city?"}], return_dict=False)
    assert "which city?" in tokenizer.decode(ids)
    config = AutoConfig.from_pretrained(model)
    assert len(tokenizer) == config.vocab_size
    assert tokenizer.eos_token_id == config.eos_token_id


@pytest.fixture
def tiny_sizes(tmp_path: Path) -> list[str]:
    write_tiny_model(tmp_path / "tiny")
    return ["--device", "cpu", "--prompts", "16", "--prompt-tokens", "320", "--shape", str(tmp_path / "tiny")]


@pytest.mark.slow
def test_steps_that_need_no_engine(tiny_sizes: list[str]) -> None:
    said = run("attention", "likelihood", "embed", *tiny_sizes)
    for figure in ("one at a time s", "packed s", "planned peak GiB, one at a time"):
        assert f"attention: {figure}: " in said
    difference = float(said.partition("likelihood: largest difference in nats: ")[2].splitlines()[0])
    assert difference < 1e-3
    assert "embed: tokens/s: " in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_engine_against_offline_generation(tiny_sizes: list[str]) -> None:
    said = run("engine", *tiny_sizes)
    assert "engine: offline tokens/s: " in said
    assert "engine: pipeline tokens/s: " in said
    share = float(said.partition("from the prefix cache: ")[2].splitlines()[0])
    assert 0.3 <= share <= 0.9, "three of four prompts find most of theirs in the cache"


@pytest.mark.slow
@pytest.mark.timeout(3600)  # it waits for every other training on this machine
def test_a_stopped_run_is_resumed_collected_and_merged() -> None:
    said = run("train", "--device", "cpu")
    assert "train: attempts: 2" in said
    assert "train: checkpoints: [" in said

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from training_inputs import ENGINE, LOCAL, train_params
from transformers import AutoModelForCausalLM, AutoTokenizer

from memsifter.errors import MemSifterError
from memsifter.models.tiny import write_tiny_model
from memsifter.models.weights import read_weights
from memsifter.params.training import WarmStartParams
from memsifter.ranking.parse import parse_ranking
from memsifter.training import warm_start as module
from memsifter.training.warm_start import WarmStartInputs, sft_environment, warm_start

CANDIDATES = 4


def write_inputs(directory: Path, rows: int = 8) -> WarmStartInputs:
    """A tiny model and a few rows of RL data."""
    write_tiny_model(directory / "base")
    examples = [
        {
            "prompt": [{"role": "user", "content": f"[Session 1] a [Session 2] b [Session 3] c [Session 4] d, {row}?"}],
            "extra_info": {
                "dataset": "toy",
                "kind": "chat",
                "question_id": f"q{row}",
                "coarse_order": list(range(CANDIDATES)),
                "gold": [row % CANDIDATES, (row + 1) % CANDIDATES],
            },
        }
        for row in range(rows)
    ]
    pq.write_table(pa.Table.from_pylist(examples), directory / "train_0.parquet")
    return WarmStartInputs(
        model=directory / "base",
        train_files=(directory / "train_0.parquet",),
        first_number={"chat": 1, "deep_research": 1},
        max_tokens=256,
        seed=7,
    )


def run(inputs: WarmStartInputs, directory: Path, steps: int = 2, **train: Any) -> tuple[Path, dict[int, Any]]:
    """The result and the metrics by step."""
    seen: dict[int, Mapping[str, float]] = {}
    params = WarmStartParams(steps=steps, batch_size=8, learning_rate=3e-3)
    return warm_start(inputs, params, train_params(**train), ENGINE, LOCAL, directory, seen.__setitem__), seen


def script_trainer(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A script in the place of verl's trainer."""
    monkeypatch.setattr(module, "verl_command", lambda *_: [sys.executable, "-c", script])


def test_processes_on_a_cpu_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    environment = sft_environment(train_params(gpus_per_node=2), ENGINE, Path("metrics.jsonl"))
    assert environment["OMP_NUM_THREADS"] == "4"
    assert environment["VERL_PLATFORM"] == "cpu"


def test_a_gpu_needs_no_plugin() -> None:
    engine = ENGINE.model_copy(update={"device": "cuda"})
    environment = sft_environment(train_params(device="cuda"), engine, Path("metrics.jsonl"))
    assert "VERL_PLATFORM" not in environment
    assert "VERL_USE_EXTERNAL_MODULES" not in environment


def test_a_finished_warm_start_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_trainer(monkeypatch, "raise RuntimeError('started')")
    (tmp_path / "run" / "model").mkdir(parents=True)
    line = {"step": 1, "data": {"train/loss": 2.5}}
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    inputs = WarmStartInputs(Path("base"), (), {}, 256, 7)
    assert run(inputs, tmp_path / "run") == (tmp_path / "run" / "model", {1: {"train/loss": 2.5}})


def test_the_first_error_is_reported_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        "UserWarning: torchtitan engine is not available: ModuleNotFoundError('no')",
        "[rank0]: Traceback (most recent call last):",
        "[rank0]: ValueError: the data is odd",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "verl.trainer.sft_trainer FAILED",
    ]
    script_trainer(monkeypatch, f"print({chr(10).join(said)!r}); raise SystemExit(3)")
    with pytest.raises(MemSifterError, match=r"^the warm start ended with code 3: ValueError: the data is odd \(whole"):
        run(write_inputs(tmp_path), tmp_path / "run")


def test_an_interrupted_warm_start_begins_anew_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = write_inputs(tmp_path)
    script_trainer(monkeypatch, "raise SystemExit(3)")
    for _ in range(2):
        with pytest.raises(MemSifterError, match="ended with code 3"):
            run(inputs, tmp_path / "run")
    configs = [(tmp_path / "run" / f"attempt_{number}" / "sft.yaml").read_text() for number in (1, 2)]
    assert "attempt_1/checkpoints" in configs[0]
    assert "attempt_2/checkpoints" in configs[1]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_stalled_warm_start_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_trainer(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(MemSifterError, match=r"no step finished for 0\.01 minutes"):
        run(write_inputs(tmp_path), tmp_path / "run", stall_minutes=0.01)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(MemSifterError, match="a warm start already runs here"),
    ):
        run(write_inputs(tmp_path), tmp_path)


def expected_loss(inputs: WarmStartInputs) -> float:
    """Mean negative log-likelihood of the response tokens of all rows, each row computed alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(inputs.model), AutoModelForCausalLM.from_pretrained(inputs.model)
    losses = []
    for row in pq.read_table(inputs.train_files[0]).to_pylist():
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]
        numbers = ",".join(str(1 + candidate) for candidate in sorted(row["extra_info"]["gold"]))
        response = tokenizer.encode(f"<think></think><ranking>{numbers}</ranking><|im_end|>")
        with torch.no_grad():
            scores = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        losses.append(-scores[range(len(response)), response])
    return float(torch.cat(losses).mean())


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on two idle cores; verl alone takes long to import on busy ones
def test_a_model_learns_the_format(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    # One forward pass holds several rows, which must not see each other.
    out, metrics = run(inputs, tmp_path / "run", steps=24, micro_batch_tokens=512)

    assert list(metrics) == list(range(1, 25))
    assert metrics[1]["train/loss"] == pytest.approx(expected_loss(inputs), rel=1e-4)
    assert metrics[24]["train/loss"] < 0.5

    assert {tensor.dtype for tensor in read_weights(out).values()} == {"F32"}
    assert (out / "generation_config.json").is_file()
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    prompt = tokenizer.apply_chat_template(
        pq.read_table(inputs.train_files[0])["prompt"][0].as_py(), add_generation_prompt=True, return_tensors="pt"
    )
    written = model.generate(**prompt, do_sample=False, max_new_tokens=40)[0, prompt["input_ids"].shape[1] :]
    assert parse_ranking(tokenizer.decode(written, skip_special_tokens=True), CANDIDATES, base=1).status == "ok"

    assert not list((tmp_path / "run").rglob("checkpoints"))
    assert run(inputs, tmp_path / "run", steps=24) == (out, metrics)

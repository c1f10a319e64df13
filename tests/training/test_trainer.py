import sys
from pathlib import Path

import pytest
from training_inputs import ENGINE, train_params

from memsifter.errors import MemSifterError
from memsifter.llm.runtime import engine_arguments, engine_environment
from memsifter.training.trainer import explain_failure, lock_directory, training_environment, verl_command


def test_the_trainer_is_verls_own_with_one_configuration_file(tmp_path: Path) -> None:
    command = verl_command("verl.trainer.main_ppo", tmp_path / "attempt_3.yaml")
    assert command[:3] == [sys.executable, "-m", "verl.trainer.main_ppo"]
    assert command[3:7] == ["--config-path", str(tmp_path), "--config-name", "attempt_3"]


def test_a_launcher_starts_the_trainer(tmp_path: Path) -> None:
    command = verl_command("verl.trainer.sft_trainer", tmp_path / "sft.yaml", ["-m", "torch.distributed.run"])
    assert command[:5] == [sys.executable, "-m", "torch.distributed.run", "-m", "verl.trainer.sft_trainer"]


def test_only_a_cpu_needs_the_plugin() -> None:
    cpu = training_environment(train_params(), ENGINE, Path("metrics.jsonl"))
    engine = ENGINE.model_copy(update={"device": "cuda"})
    cuda = training_environment(train_params(device="cuda"), engine, Path("metrics.jsonl"))
    assert (cpu["VERL_PLATFORM"], cpu["VERL_FILE_LOGGER_PATH"]) == ("cpu", "metrics.jsonl")
    assert cpu["OMP_WAIT_POLICY"] == "passive"  # a spinning thread takes the core that another waits for
    assert "VERL_PLATFORM" not in cuda
    assert "VERL_USE_EXTERNAL_MODULES" not in cuda


def test_a_directory_is_one_processs_at_a_time(tmp_path: Path) -> None:
    with (
        lock_directory(tmp_path / "run", "training"),
        pytest.raises(MemSifterError, match="a training already runs here; wait for it or stop it"),
        lock_directory(tmp_path / "run", "training"),
    ):
        pass
    with lock_directory(tmp_path / "run", "training"):
        pass


@pytest.mark.parametrize(
    ("after", "cause"),
    [(None, "verl.Error: last"), ("question 3 failed", "ValueError: its cause"), ("", "KeyError: first")],
)
def test_the_cause_of_a_failure_is_found_in_the_log(tmp_path: Path, after: str | None, cause: str) -> None:
    log = tmp_path / "log"
    log.write_text(
        "Error executing job with overrides: []\n[rank0]: KeyError: first\nquestion 3 failed\n"
        "(Worker pid=7) ray.exceptions.RayTaskError(ValueError): ray::run()\n(Worker pid=7) ValueError: its cause\n"
        "verl.Error: last\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    )
    assert explain_failure(log, after) == f"{cause} (whole log: {log})"


def test_a_log_without_an_exception_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("killed\n")
    assert explain_failure(tmp_path / "log", after="") == f"killed (whole log: {tmp_path / 'log'})"


def test_the_kv_cache_may_be_part_of_a_gibibyte_and_vllm_s_own_variable_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ENGINE.model_copy(update={"cpu_kv_cache_gib": 0.25})
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    assert engine_arguments(engine, seed=1)["kv_cache_memory_bytes"] == 1 << 28
    assert "kv_cache_memory_bytes" not in engine_arguments(ENGINE.model_copy(update={"device": "cuda"}), seed=1)
    assert caplog.messages == []
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    engine_arguments(engine, seed=1)
    assert caplog.messages == ["VLLM_CPU_KVCACHE_SPACE=3 is used, and not engine.cpu_kv_cache_gib"]
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1.5")
    with pytest.raises(MemSifterError, match="whole GiB"):
        engine_arguments(engine, seed=1)


def test_the_sampler_that_needs_a_compiler_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "VLLM_USE_FLASHINFER_SAMPLER"
    monkeypatch.delenv(name, raising=False)
    assert engine_environment(ENGINE)[name] == "0"
    monkeypatch.setenv(name, "1")
    assert engine_environment(ENGINE)[name] == "1"

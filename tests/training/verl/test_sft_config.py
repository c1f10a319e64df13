from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from training_inputs import train_params

from memsifter.errors import MemSifterError
from memsifter.params.training import WarmStartParams
from memsifter.training.verl import sft as sft_config
from memsifter.training.verl.config import compose_own
from memsifter.training.verl.sft import Examples, compose_sft_config


def composed(steps: int = 6, batch_size: int = 4, count: int = 10, max_tokens: int = 96, **train: Any) -> DictConfig:
    examples = Examples(Path("gold.parquet"), count, max_tokens)
    warm_start = WarmStartParams(steps=steps, batch_size=batch_size, learning_rate=1e-4)
    return compose_sft_config(Path("model"), examples, warm_start, train_params(**train), 7, Path("out"))


def test_parameters_reach_verl() -> None:
    config = composed()
    assert (config.trainer.total_training_steps, config.data.train_batch_size, config.optim.lr) == (6, 4, 1e-4)
    assert (config.model.path, config.data.train_files) == ("model", ["gold.parquet"])
    assert config.trainer.default_local_dir == "out"
    assert config.engine.seed == 7


def test_the_data_is_passed_as_often_as_the_steps_take() -> None:
    # 10 questions give two full batches of 4 per pass.
    assert composed(steps=6).trainer.total_epochs == 3
    assert composed(steps=7).trainer.total_epochs == 4
    assert composed(steps=1).trainer.total_epochs == 1


def test_a_forward_pass_holds_at_least_one_example() -> None:
    assert composed(max_tokens=96, micro_batch_tokens=512).data.max_token_len_per_gpu == 512
    assert composed(max_tokens=900, micro_batch_tokens=512).data.max_token_len_per_gpu == 900


def test_training_is_float32_on_a_cpu_and_mixed_on_gpus() -> None:
    cpu, cuda = composed(device="cpu"), composed(device="cuda")
    assert (cpu.trainer.device, cpu.engine.mixed_precision.param_dtype) == ("cpu", "fp32")
    assert (cuda.trainer.device, cuda.engine.mixed_precision.param_dtype) == ("cuda", "bf16")
    assert cpu.engine.strategy == cuda.engine.strategy == "fsdp2"
    assert cpu.engine.model_dtype == cuda.engine.model_dtype == "fp32"


def test_all_references_are_resolved() -> None:
    assert "${" not in OmegaConf.to_yaml(composed())


def test_a_batch_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(MemSifterError, match="batch_size is 4, but the round has 3 train questions"):
        composed(count=3)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(MemSifterError, match=r"batch_size \(3\) must be a multiple of train.gpus_per_node \(2\)"):
        composed(batch_size=3, gpus_per_node=2)


def test_a_key_that_verl_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_typo(name: str, overrides: list[str]) -> DictConfig:
        config = compose_own(name, overrides)
        OmegaConf.update(config, "trainer.save_frequency", 1, force_add=True)
        return config

    monkeypatch.setattr(sft_config, "compose_own", with_a_typo)
    with pytest.raises(MemSifterError, match=r"verl has no such key: trainer\.save_frequency"):
        composed()

"""A model with an adapter: merged once, for everything that reads models."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from memsifter.errors import MemSifterError
from memsifter.models.adapters import add_adapter, load_causal_lm, merge_adapter, save_adapter
from memsifter.models.prepare import prepare_model
from memsifter.models.tiny import write_tiny_model
from memsifter.params import ModelParams

TOKENS = torch.tensor([[5, 9, 301, 44, 17]])


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "base", seed=3)
    torch.manual_seed(1)
    adapted = add_adapter(load_causal_lm(tmp_path / "base", "float32"), rank=2)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:  # zero until it is trained
            torch.nn.init.normal_(value, std=0.1)
    save_adapter(adapted, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_prepared_model_computes_what_peft_computes(adapter: Path, tmp_path: Path) -> None:
    base = f"path:{tmp_path / 'base'}"
    prepare_model(ModelParams(ref=base, sha256=None, adapter=str(adapter)), tmp_path / "out")
    model = load_causal_lm(tmp_path / "base", "float32")
    plain = model(TOKENS).logits
    expected = PeftModel.from_pretrained(model, adapter)(TOKENS).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)(TOKENS).logits
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=1e-4)
    assert (merged - plain).abs().max() > 0.01, "the adapter changes the model"


def test_an_adapter_whose_tensors_have_other_names_is_refused(adapter: Path, tmp_path: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    renamed = {name.replace("layers.0", "layers.7"): value for name, value in weights.items()}
    save_file(renamed, adapter / "adapter_model.safetensors")
    (tmp_path / "out").mkdir()
    with pytest.raises(MemSifterError, match=r"only one of them has base_model\.model\.model\.layers\.[07]"):
        merge_adapter(tmp_path / "base", adapter, tmp_path / "out")


def test_a_damaged_adapter_is_one_error(adapter: Path, tmp_path: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"not tensors")
    (tmp_path / "out").mkdir()
    with pytest.raises(MemSifterError, match="does not fit the model"):
        merge_adapter(tmp_path / "base", adapter, tmp_path / "out")


def test_a_saved_adapter_names_no_path_and_is_the_same_everywhere(adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert config["target_modules"] == sorted(config["target_modules"])
    assert sorted(path.name for path in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_an_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    config = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(config.replace('"r": 2', '"r": 3'))
    with pytest.raises(MemSifterError, match="does not fit the model"):
        prepare_model(ModelParams(ref=f"path:{tmp_path / 'base'}", sha256=None, adapter=str(adapter)), tmp_path / "out")
    assert not (tmp_path / "out").exists()

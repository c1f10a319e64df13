"""A model with an adapter: merged once, for everything that reads models."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from memsifter.errors import MemSifterError
from memsifter.models.adapters import add_adapter, load_causal_lm
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
    adapted.save_pretrained(str(tmp_path / "adapter"))
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


def test_an_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    config = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(config.replace('"r": 2', '"r": 3'))
    with pytest.raises(MemSifterError, match="does not fit the model"):
        prepare_model(ModelParams(ref=f"path:{tmp_path / 'base'}", sha256=None, adapter=str(adapter)), tmp_path / "out")
    assert not (tmp_path / "out").exists()

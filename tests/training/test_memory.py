"""The formulas of the memory plan, against what PyTorch really keeps for tiny models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from memsifter.errors import MemSifterError
from memsifter.models.tiny import write_tiny_model
from memsifter.training.memory import ModelShape, read_shape

SHAPES = Path(__file__).parents[1] / "model_shapes"
SIZES = {"num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 160, "vocab_size": 300}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24}
CONFIGS = [
    LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=False),
    Qwen2Config(**SIZES, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True),
    Qwen3Config(**SIZES, **HEADS, tie_word_embeddings=True),
]
TOKENS = 200


def build(config: Any, tmp_path: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, ModelShape]:
    config.save_pretrained(tmp_path)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype)
    return model, read_shape(tmp_path)


def kept_bytes(forward: Any, parameters: Any) -> int:
    """Bytes of all tensors that a forward pass keeps for its backward pass, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()  # alive, so that no storage is used twice
        total = sum(kept.values())
    del result
    return total


@pytest.mark.parametrize(("name", "parameters"), [("qwen3_0.6b", 596_049_920), ("qwen3_4b", 4_022_468_096)])
def test_the_published_sizes_are_found_without_weights(name: str, parameters: int) -> None:
    assert read_shape(SHAPES / name).parameters == parameters


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_weights_and_optimizer(config: Any, tmp_path: Path) -> None:
    model, shape = build(config, tmp_path)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    block = sum(parameter.numel() for parameter in model.model.layers[0].parameters())
    assert shape.block == pytest.approx(block, rel=0.01)  # the norm behind the last block is shared out
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.arange(10)[None]).logits.sum().backward()
    optimizer.step()
    state = sum(value.nbytes for each in optimizer.state.values() for value in each.values() if value.dim())
    assert state == 8 * shape.parameters


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_blocks_keep_for_the_backward_pass(config: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    model, shape = build(config, tmp_path, dtype)
    ids = torch.arange(TOKENS)[None]
    kept = kept_bytes(lambda: model.model(ids, use_cache=False), model.parameters())
    expected = TOKENS * shape.layers * shape.block_bytes(dtype.itemsize)
    assert expected == pytest.approx(kept, rel=0.2)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_gradient_checkpointing_keeps_the_inputs_of_blocks(config: Any, tmp_path: Path) -> None:
    model, shape = build(config, tmp_path)
    model.train().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids = torch.arange(TOKENS)[None]
    inputs = []
    for layer in model.model.layers:
        layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].nbytes))
    kept_bytes(lambda: model.model(ids, use_cache=False), model.parameters())
    assert sum(inputs) == TOKENS * shape.layers * shape.hidden * 4


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_the_cache_of_keys_and_values(config: Any, tmp_path: Path) -> None:
    model, shape = build(config, tmp_path)
    with torch.no_grad():
        cache = model(torch.arange(TOKENS)[None], use_cache=True).past_key_values
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) == TOKENS * shape.kv_bytes(4)


def test_a_model_of_the_pipeline(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert read_shape(tmp_path / "model").parameters == model.num_parameters()
    assert AutoConfig.from_pretrained(tmp_path / "model").num_hidden_layers == read_shape(tmp_path / "model").layers


def test_a_missing_config_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"no config\.json that transformers understands"):
        read_shape(tmp_path)

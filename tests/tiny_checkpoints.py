"""Tiny language models as Hugging Face directories, and their weights read back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_tokenizer import CHAT_TEMPLATE, byte_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

_ARCHITECTURES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


def make_model(
    directory: Path,
    seed: int = 0,
    *,
    architecture: str = "llama",
    tied: bool = True,
    dtype: torch.dtype = torch.float32,
    hidden: int = 8,
    merges: int = 0,
) -> Path:
    """Save a model with random weights, its tokenizer and a chat template; return the directory."""
    tokenizer = byte_tokenizer(merges, chat_template=CHAT_TEMPLATE)
    tokenizer.save_pretrained(directory)
    config_class, model_class = _ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=hidden // 2,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(seed)
    model = model_class(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()  # norms start as ones otherwise, whose mean proves nothing
    model.save_pretrained(directory)
    return directory


def read_state(directory: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the directory's safetensors files."""
    return {
        name: tensor for file in sorted(directory.glob("*.safetensors")) for name, tensor in load_file(file).items()
    }


def edit_state(directory: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of a directory with one weights file."""
    state = {name: tensor.clone() for name, tensor in read_state(directory).items()}
    edit(state)
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})


def edit_json(file: Path, **values: Any) -> None:
    """Set top-level keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")

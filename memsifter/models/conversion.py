"""Weights in other formats become safetensors, which both transformers and vLLM load without running pickled code."""

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsifter.errors import MemSifterError
from memsifter.models.check import describe_missing, quiet_transformers, shorten

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

TORCH_FILE = "pytorch_model.bin"


def convert_gguf(gguf: Path, out: Path) -> None:
    """Convert a quantised GGUF model to a bfloat16 Hugging Face directory with its tokenizer and chat template.

    Raises:
        MemSifterError: the file is broken, transformers cannot read its architecture, tensors are missing, or
            tokenizer and weights disagree.
    """
    logger.info("converting %s (about ten seconds per 100 M parameters)", gguf.name)
    model, tokenizer = _load_gguf(gguf)
    if len(tokenizer) != model.config.vocab_size:
        raise MemSifterError(
            f"{gguf}: the tokenizer has {len(tokenizer)} tokens, the weights {model.config.vocab_size}; "
            "such a model would give biased probabilities"
        )
    # GGUF tokenizers come with a wrong end-of-sequence token and without length and padding; the config is right.
    if model.config.eos_token_id is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.clean_up_tokenization_spaces = False
    model.generation_config._from_model_config = False
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _load_gguf(gguf: Path) -> tuple[Any, Any]:
    """Model and tokenizer; a tensor that is missing would be filled with random numbers."""
    # Imported here: a model that needs no conversion should not wait for torch.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with quiet_transformers(), _parse_once():
            model, info = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                dtype=torch.bfloat16,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except Exception as error:  # the reader raises whatever a damaged header or an unknown architecture leads to
        raise MemSifterError(f"{gguf}: transformers cannot convert this GGUF file ({shorten(error)})") from error
    if problem := describe_missing(info):
        raise MemSifterError(f"{gguf}: {problem}; the file is incomplete or its tensors have other names")
    return model, tokenizer


@contextmanager
def _parse_once() -> Iterator[None]:
    """While it lasts, gguf parses a file once, and makes each map of tensor names once.

    transformers asks for the first four times, and for the second once for each module of the model, which together is
    most of the time that a small model takes.
    """
    import gguf

    makers = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, maker in makers.items():
        setattr(gguf, name, cache(maker))
    try:
        yield
    finally:
        for name, maker in makers.items():
            setattr(gguf, name, maker)


def convert_torch_weights(source: Path, out: Path) -> None:
    """Write the tensors of a `pytorch_model.bin` to `out/model.safetensors`; pickled code is refused by torch.

    Raises:
        MemSifterError: the file is broken, or holds more than a model's tensors by name.
    """
    import torch
    from safetensors.torch import save_file

    from memsifter.models.weights import SINGLE_FILE

    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MemSifterError(f"{source}: holds more than tensors; refused ({shorten(error)})") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise MemSifterError(f"{source}: not a readable torch file ({shorten(error)}); fetch it again") from error
    save_file(_plain_tensors(state, source), out / SINGLE_FILE, metadata={"format": "pt"})


def _plain_tensors(state: object, source: Path) -> "dict[str, torch.Tensor]":
    import torch

    if not isinstance(state, dict) or not state:
        raise MemSifterError(f"{source}: holds {type(state).__name__}, not a model's tensors by name")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
            raise MemSifterError(
                f"{source}: {str(name)!r:.80} is {type(tensor).__name__}, not a plain tensor; save the model's "
                "state_dict alone"
            )
    return {name: tensor.contiguous().clone() for name, tensor in state.items()}

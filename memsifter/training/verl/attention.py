"""How verl's trainers compute attention, and what follows from it for the batches of a forward pass.

With `flash_attention_2` verl packs sequences into one long row, and may split a row among GPUs (Ulysses). PyTorch's own
attention (`sdpa`) can do neither on a GPU: for a row of several sequences it is given a dense mask of T x T entries and
copies of keys and values for every query head, and under Ulysses, which verl builds into flash attention only, each GPU
would attend to its own part of the sequence alone, in silence. One sequence per pass needs no mask, and then sdpa runs
the same fused kernel.
"""

import importlib.util
from typing import Any, Literal

from memsifter.errors import MemSifterError
from memsifter.params.training import TrainParams

Attention = Literal["sdpa", "flash_attention_2"]


def choose_attention(train: TrainParams, installed: bool | None = None) -> Attention:
    """What `train.attention` means.

    Args:
        train: device, attention, Ulysses.
        installed: whether the machine that trains has the package flash-attn; None: as this one.

    Raises:
        MemSifterError: flash attention is asked for, or needed for `train.ulysses`, and its package is missing.
    """
    installed = has_flash_attention() if installed is None else installed
    if train.attention == "flash_attention_2" and not installed:
        raise MemSifterError(
            "train.attention is flash_attention_2, but the package flash-attn is not installed; install it "
            "(pip install flash-attn --no-build-isolation), or set train.attention=auto"
        )
    if train.attention != "auto":
        return train.attention
    if train.device == "cuda" and installed:
        return "flash_attention_2"
    if train.ulysses > 1:
        raise MemSifterError(
            f"train.ulysses is {train.ulysses}, but without the package flash-attn a sequence cannot be split among "
            "GPUs; install it (pip install flash-attn --no-build-isolation), or set train.ulysses=1"
        )
    return "sdpa"


def has_flash_attention() -> bool:
    """Whether the package is installed here; the machines of a cluster have the same environment."""
    return importlib.util.find_spec("flash_attn") is not None


def packs_sequences(train: TrainParams, installed: bool | None = None) -> bool:
    """Whether a forward pass holds several sequences. On a CPU, where sequences are short, a dense mask is small."""
    return train.device == "cpu" or choose_attention(train, installed) == "flash_attention_2"


def model_values(train: TrainParams) -> dict[str, Any]:
    """The attention part of verl's `model` section, of both trainers."""
    return {"override_config": {"attn_implementation": choose_attention(train)}}


def micro_batch_tokens(train: TrainParams, longest: int) -> int:
    """The most tokens of a packed forward pass on one GPU; the longest sequence, or its share under Ulysses, fits."""
    return max(train.micro_batch_tokens, -(-longest // train.ulysses))

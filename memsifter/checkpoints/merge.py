"""Average checkpoints of one run into one model, streamed so that memory does not grow with their number or size.

Models fine-tuned from one start often lie in one basin of the loss, where the mean of their weights does better than
each of them ("model soups", arXiv 2203.05482).
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import save_file
from tqdm import tqdm

from memsifter.checkpoints.compatibility import (
    check_paths,
    check_tensors,
    check_text_files,
    drop_tied,
    scale_weights,
    text_files,
)
from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory, read_json, write_json, write_text
from memsifter.models.check import check_model, read_config
from memsifter.models.weights import INDEX_FILE, StoredTensor, read_weights, tied_names

logger = logging.getLogger(__name__)

FloatType = Literal["float32", "bfloat16", "float16"]
_MOST_THREADS = 4  # reading is soon what they wait for
_TORCH_TYPES = {name: getattr(torch, name) for name in get_args(FloatType)}


def merge_checkpoints(
    checkpoints: Sequence[Path],
    out_dir: Path,
    dtype: FloatType = "bfloat16",
    weights: Sequence[float] | None = None,
    shard_bytes: int = 2 << 30,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write the weighted mean of Hugging Face directories as a Hugging Face directory, whole or not at all.

    A mean is summed in float64, rounded to float32 and then to `dtype`. Tensors that are not floating-point are kept
    and must be equal. Configs and tokenizer are those of the first checkpoint, and must be the same in all. Memory:
    one output shard, and blocks of rows of a few tensors.

    Args:
        checkpoints: directories with config, tokenizer and safetensors weights.
        out_dir: the directory to write; one that exists is replaced.
        dtype: type of the weights written.
        weights: how much each checkpoint counts, relative to the others; None weighs all alike.
        shard_bytes: the most bytes in one weights file; a larger tensor has a file of its own.
        texts: further text files to write, by name (a model card).

    Raises:
        MemSifterError: checkpoints that are not alike, broken or not finite (`memsifter.checkpoints.compatibility`),
            wrong weights, or a mean that `dtype` cannot hold.
    """
    if dtype not in _TORCH_TYPES:
        raise MemSifterError(f"dtype {dtype!r}: one of {', '.join(_TORCH_TYPES)}")
    check_paths(checkpoints, out_dir)
    parts = scale_weights(weights, len(checkpoints))
    stored = _read_checkpoints(checkpoints)
    logger.info("merging %d checkpoints into %s (%s)", len(checkpoints), out_dir, dtype)
    with atomic_directory(out_dir) as temporary, _one_thread():
        _copy_text_files(checkpoints[0], temporary, dtype)
        for name, text in (texts or {}).items():
            write_text(temporary / name, text)
        _write_shards(stored, parts, temporary, dtype, shard_bytes)


def _read_checkpoints(checkpoints: Sequence[Path]) -> dict[Path, dict[str, StoredTensor]]:
    """The tensors to average by checkpoint, after every check that needs no values."""
    stored = {checkpoint: read_weights(checkpoint) for checkpoint in checkpoints}
    for checkpoint in checkpoints:
        read_config(checkpoint)
    check_text_files(checkpoints)
    tied = tied_names(checkpoints[0])
    stored = {checkpoint: drop_tied(tensors, tied, checkpoint) for checkpoint, tensors in stored.items()}
    check_tensors(stored)
    for checkpoint in checkpoints:  # last: the checks above tell the difference between two checkpoints
        check_model(checkpoint)
    return stored


@contextmanager
def _one_thread() -> Iterator[None]:
    """Each tensor is merged by one thread: threads that meet after every operation stall on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _copy_text_files(checkpoint: Path, out: Path, dtype: FloatType) -> None:
    for name, source in text_files(checkpoint).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / name)
    config = read_json(checkpoint / "config.json")
    config.pop("torch_dtype", None)  # the key's name before transformers 5
    write_json(out / "config.json", config | {"dtype": dtype})


def _write_shards(
    stored: Mapping[Path, Mapping[str, StoredTensor]],
    parts: Sequence[float],
    out: Path,
    dtype: FloatType,
    shard_bytes: int,
) -> None:
    by_name = {name: [tensors[name] for tensors in stored.values()] for name in next(iter(stored.values()))}
    split = split_state_dict_into_shards_factory(
        {name: _merged_bytes(tensors[0], dtype) for name, tensors in by_name.items()},
        get_storage_size=int,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_bytes,
    )
    with (
        tqdm(total=len(by_name), desc=f"merging {len(stored)} checkpoints", unit="tensor") as progress,
        ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads,
    ):
        for file, names in split.filename_to_tensors.items():
            merged = threads.map(lambda name: _merge_tensor(by_name[name], parts, dtype), names)
            shard = {}
            for name, tensor in zip(names, merged, strict=True):
                shard[name] = tensor
                progress.update()
            save_file(shard, out / file, metadata={"format": "pt"})
            del shard, tensor  # before the next shard's first tensor is made
    if split.is_sharded:
        write_json(out / INDEX_FILE, {"metadata": split.metadata, "weight_map": split.tensor_to_filename})


def _merged_bytes(tensor: StoredTensor, dtype: FloatType) -> int:
    return tensor.elements * (_TORCH_TYPES[dtype].itemsize if tensor.is_floating else tensor.item_bytes)


def _merge_tensor(tensors: Sequence[StoredTensor], parts: Sequence[float], dtype: FloatType) -> torch.Tensor:
    if not tensors[0].is_floating:
        return _require_equal(tensors)
    merged = torch.empty(tensors[0].shape or (1,), dtype=_TORCH_TYPES[dtype])
    blocks = list(tensors[0].blocks())
    longest = max((stop - start for start, stop in blocks), default=0)
    # Made once: new memory for each block would take longer to map than the block to add up.
    total, rows = torch.empty((2, longest, *merged.shape[1:]), dtype=torch.float64)
    for start, stop in blocks:
        mean = _average_rows(tensors, parts, start, stop, total[: stop - start], rows[: stop - start])
        merged[start:stop] = mean
        # Rounding keeps the order: if the least and the largest are within the range of dtype, all are. NaN is both.
        if mean.numel() and not torch.stack(mean.aminmax()).to(merged.dtype).isfinite().all():
            _require_finite(tensors, start, stop)
            raise MemSifterError(f"{tensors[0].name}: the mean is beyond the range of {dtype}; choose another dtype")
    return merged.reshape(tensors[0].shape)


def _average_rows(
    tensors: Sequence[StoredTensor],
    parts: Sequence[float],
    start: int,
    stop: int,
    total: torch.Tensor,
    rows: torch.Tensor,
) -> torch.Tensor:
    """Weighted mean of a block of rows, float32. `total` and `rows` are float64 memory for it, of the block's shape."""
    total.zero_()
    for tensor, part in zip(tensors, parts, strict=True):
        total += rows.copy_(tensor.read_rows(start, stop)).mul_(part)
    # Divided last: 1/k is no binary fraction, and the mean of equal values must be that value.
    return total.div_(sum(parts)).float()


def _require_finite(tensors: Sequence[StoredTensor], start: int, stop: int) -> None:
    for tensor in tensors:
        if not tensor.read_rows(start, stop).isfinite().all():
            raise MemSifterError(
                f"{tensor.file}: {tensor.name} holds NaN or infinite values; leave this checkpoint out"
            )


def _require_equal(tensors: Sequence[StoredTensor]) -> torch.Tensor:
    first = tensors[0].read()
    for tensor in tensors[1:]:
        if not torch.equal(tensor.read(), first):
            raise MemSifterError(
                f"{tensor.file}: {tensor.name} ({tensor.dtype}) differs from {tensors[0].file} and has no mean"
            )
    return first

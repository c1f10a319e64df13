"""Whether checkpoints can be averaged: one architecture, one tokenizer, the same tensors."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, sha256_file
from memsifter.models.weights import INDEX_FILE, StoredTensor

# Top-level keys that tell how a file was saved or a tokenizer last called, and nothing about the model.
_IGNORED_KEYS = {
    "config.json": {"_name_or_path", "transformers_version", "dtype", "torch_dtype"},
    "generation_config.json": {"_from_model_config", "transformers_version"},
    "tokenizer.json": {"truncation", "padding"},
    "tokenizer_config.json": {"name_or_path", "is_local", "local_files_only"},
}
_ABSENT = "absent"
_TEXT_SUFFIXES = (".json", ".jinja", ".txt", ".model")


def check_paths(checkpoints: Sequence[Path], out: Path) -> None:
    """Refuse an empty or repeating list, and an out directory that would replace its own input.

    Raises:
        MemSifterError: see above; the message names the path.
    """
    if not checkpoints:
        raise MemSifterError("no checkpoints to merge; give at least one Hugging Face directory")
    resolved = [path.resolve() for path in checkpoints]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            raise MemSifterError(f"{checkpoints[number]}: given twice; use weights to count a checkpoint more")
        if path.is_relative_to(out.resolve()) or out.resolve().is_relative_to(path):
            raise MemSifterError(
                f"{out}: cannot hold or lie in the checkpoint {checkpoints[number]}; choose another out"
            )


def scale_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Relative weights divided by a power of two, so without rounding, to at most 1; None weighs all alike.

    Raises:
        MemSifterError: not one weight for each checkpoint, a negative or infinite one, or all are 0.
    """
    values = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(values) != count:
        raise MemSifterError(f"weights: {len(values)} given for {count} checkpoints; give one for each")
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise MemSifterError(f"weights: {values}; each must be a number of at least 0")
    if not any(values):
        raise MemSifterError("weights: all are 0; at least one must be positive")
    _, exponent = math.frexp(max(values))
    return [math.ldexp(value, -exponent) for value in values]


def text_files(directory: Path) -> dict[str, Path]:
    """Config, tokenizer and chat template files by path within the directory, in alphabetical order."""
    paths = {path.relative_to(directory): path for path in directory.rglob("*") if path.suffix in _TEXT_SUFFIXES}
    return {
        name.as_posix(): path
        for name, path in sorted(paths.items())
        if name.name != INDEX_FILE and not any(part.startswith(".") for part in name.parts)
    }


def check_text_files(checkpoints: Sequence[Path]) -> None:
    """Require the same configs and tokenizers; fields about how they were saved may differ.

    Raises:
        MemSifterError: a file is missing in one checkpoint, or differs; the message names file, key and checkpoints.
    """
    for first, second in pairwise(checkpoints):
        files, others = text_files(first), text_files(second)
        if alone := sorted(files.keys() ^ others.keys()):
            here, there = (first, second) if alone[0] in files else (second, first)
            raise MemSifterError(f"{there}: no {alone[0]}, which {here} has; only like models can be merged")
        for name, path in files.items():
            if (difference := _describe_difference(path, others[name])) is not None:
                raise MemSifterError(
                    f"{first} and {second} differ in {name}{difference}; only like models can be merged"
                )


def drop_tied(stored: Mapping[str, StoredTensor], tied: Mapping[str, str], checkpoint: Path) -> dict[str, StoredTensor]:
    """Leave out the copies of tied tensors, which the loaded model takes from their owner.

    Args:
        stored: the checkpoint's tensors by name.
        tied: name of each copy with its owner's, see `memsifter.models.weights.tied_names`.
        checkpoint: for the message.

    Raises:
        MemSifterError: a copy has other values than its owner.
    """
    copies = {name for name, owner in tied.items() if name in stored and owner in stored}
    for name in sorted(copies):
        copy, owner = stored[name], stored[tied[name]]
        if copy.shape != owner.shape or not all(
            torch.equal(copy.read_rows(*rows), owner.read_rows(*rows)) for rows in copy.blocks()
        ):
            raise MemSifterError(
                f"{checkpoint}: {name} differs from {owner.name}, although config.json ties them; correct one of them"
            )
    return {name: tensor for name, tensor in stored.items() if name not in copies}


def check_tensors(stored: Mapping[Path, Mapping[str, StoredTensor]]) -> None:
    """Require the same tensor names, shapes and kinds of values in every checkpoint.

    Raises:
        MemSifterError: a tensor is missing, extra, of another shape or kind; the message names it and the checkpoint.
    """
    (first, expected), *others = stored.items()
    for checkpoint, tensors in others:
        if missing := sorted(expected.keys() - tensors.keys()):
            raise MemSifterError(f"{checkpoint}: {_name_some(missing)} missing, which {first} has")
        if extra := sorted(tensors.keys() - expected.keys()):
            raise MemSifterError(f"{checkpoint}: {_name_some(extra)} unexpected, which {first} lacks")
        for name, tensor in tensors.items():
            if tensor.shape != expected[name].shape:
                raise MemSifterError(
                    f"{checkpoint}: {name} has shape {list(tensor.shape)}, in {first} {list(expected[name].shape)}"
                )
            if tensor.is_floating != expected[name].is_floating or (
                not tensor.is_floating and tensor.dtype != expected[name].dtype
            ):
                raise MemSifterError(f"{checkpoint}: {name} is {tensor.dtype}, in {first} {expected[name].dtype}")


def _name_some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"tensor(s) {', '.join(names[:3])}{rest}"


def _describe_difference(first: Path, second: Path) -> str | None:
    """None if the files mean the same, else the first key that differs; "" for files that are not JSON."""
    if sha256_file(first) == sha256_file(second):
        return None
    if first.suffix != ".json":
        return ""
    values, others = read_json(first), read_json(second)
    ignored = _IGNORED_KEYS.get(first.name, set())
    keys = sorted((values.keys() | others.keys()) - ignored)
    different = [key for key in keys if values.get(key, _ABSENT) != others.get(key, _ABSENT)]
    if not different:
        return None
    key = different[0]
    return f" at {key} ({values.get(key, _ABSENT)!r:.80} and {others.get(key, _ABSENT)!r:.80})"

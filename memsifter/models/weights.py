"""The tensors of a Hugging Face directory, known from the safetensors headers and read a few rows at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# Bytes of a value by the format's name of its type; narrower types are those of quantised weights.
_FLOATING = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_DISCRETE = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_BLOCK_ELEMENTS = 1 << 19


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a safetensors file. `dtype` is the format's own name, such as F32 or BF16."""

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_floating(self) -> bool:
        """Whether the values are real numbers, which can be averaged."""
        return self.dtype in _FLOATING

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of one value."""
        return (_FLOATING | _DISCRETE)[self.dtype]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows (indices of the first dimension) of about 520,000 values each; a scalar is one row."""
        rows = self.shape[0] if self.shape else 1
        step = max(1, _BLOCK_ELEMENTS // max(1, self.elements // max(1, rows)))
        for start in range(0, rows, step):
            yield start, min(start + step, rows)

    def read(self) -> torch.Tensor:
        """The whole tensor."""
        with safe_open(self.file, framework="pt") as stored:
            tensor: torch.Tensor = stored.get_tensor(self.name)
        return tensor.clone()

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop`, shape (stop - start, …); a scalar has one row, shape (1,).

        The file is opened anew for each call: safetensors maps it into memory, and every page that was ever read stays
        resident, and counts as this process's memory, until the mapping ends with the last tensor that lies in it.
        """
        with safe_open(self.file, framework="pt") as stored:
            rows: torch.Tensor = stored.get_slice(self.name)[start:stop] if self.shape else stored.get_tensor(self.name)
        return rows if self.shape else rows.reshape(1)


def read_weights(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a Hugging Face directory by name, in alphabetical order; only headers are read.

    Raises:
        MemSifterError: no safetensors weights, a file or tensor that the index names is missing, a file is broken, the
            weights are quantised, or an adapter would have to be added to them.
    """
    if adapters := sorted(directory.rglob("adapter_config.json")):
        raise MemSifterError(f"{adapters[0]}: an adapter; merge it into the model's weights first")
    index = directory / INDEX_FILE
    single = directory / SINGLE_FILE
    if single.is_file() and index.is_file():
        raise MemSifterError(f"{directory}: holds {SINGLE_FILE} and {INDEX_FILE}; remove the one that is outdated")
    stored = open_weights(directory)
    for tensor in stored.values():
        if tensor.dtype not in _FLOATING | _DISCRETE:
            raise MemSifterError(f"{tensor.file}: {tensor.name} is {tensor.dtype}; quantised weights are not supported")
    return dict(sorted(stored.items()))


def open_weights(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor that transformers would load, whatever its type, by name in no particular order.

    Raises:
        MemSifterError: no safetensors weights, a file or tensor that the index names is missing, or a file is broken.
    """
    index = directory / INDEX_FILE
    if (directory / SINGLE_FILE).is_file():
        return read_headers(directory / SINGLE_FILE)
    if not index.is_file():
        raise MemSifterError(f"{directory}: no {SINGLE_FILE} and no {INDEX_FILE}{_describe_pickles(directory)}")
    weight_map = _read_weight_map(index)
    stored = {file: read_headers(directory / file) for file in sorted(set(weight_map.values()))}
    if absent := sorted(name for name, file in weight_map.items() if name not in stored[file]):
        raise MemSifterError(f"{index}: names tensors that its files do not hold: {', '.join(absent[:5])}")
    return {name: stored[file][name] for name, file in weight_map.items()}


def tied_names(directory: Path) -> dict[str, str]:
    """Parameters that share another one's tensor, each with the name under which that tensor is stored.

    For a model with tied embeddings typically {"lm_head.weight": "model.embed_tokens.weight"}, else empty. Asked of the
    architecture itself, built without memory for weights.

    Raises:
        MemSifterError: the config is not that of a causal language model.
    """
    # Imported here: the architectures take seconds to load, and headers are read without them.
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MemSifterError(
            f"{directory}: transformers knows no causal language model of this config ({reason})"
        ) from error
    return tied_parameters(model)


def tied_parameters(model: Any) -> dict[str, str]:
    """Parameters of a transformers model that share another one's tensor, each with the name of that other."""
    model.tie_weights()
    owners: dict[int, str] = {}
    owned = {
        name: owners.setdefault(id(parameter), name)
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }
    return {name: owner for name, owner in owned.items() if name != owner}


def _read_weight_map(index: Path) -> dict[str, str]:
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise MemSifterError(f"{index}: no weight_map; this is not an index of safetensors files")
    if outside := sorted({file for file in weight_map.values() if Path(file).name != file}):
        raise MemSifterError(f"{index}: {outside[0]} is not a file beside the index")
    return dict(weight_map)


def read_headers(file: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file by name, in no particular order.

    Raises:
        MemSifterError: the file is missing, cut or broken.
    """
    headers = {}
    try:
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (not a mapping)
                piece = stored.get_slice(name)
                headers[name] = StoredTensor(name, file, tuple(piece.get_shape()), piece.get_dtype())
    except FileNotFoundError as error:
        raise MemSifterError(f"{file}: no such file, although the index names it") from error
    except SafetensorError as error:
        raise MemSifterError(f"{file}: not a readable safetensors file ({error}); fetch or write it again") from error
    return headers


def _describe_pickles(directory: Path) -> str:
    pickles = sorted(path.name for path in directory.glob("*") if path.suffix in (".bin", ".pt", ".pth"))
    return f"; {pickles[0]} is a pickle, which is never loaded: convert it to safetensors" if pickles else ""

"""The file in which each rank of verl's trainer saves its part of the model: tensors by name, sharded ones as DTensors.

Of a DTensor, torch saves the hash of its layout and of its mesh, too, once they were computed, and Python's hashes of
texts and of None are others in each process. `copy_shard` leaves them out, so that equal weights are equal files.
"""

import logging
import pickle
from pathlib import Path

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from memsifter.errors import MemSifterError

# Warns that a mesh is loaded without its process group, which only a compiled model would look up.
logging.getLogger("torch.distributed.device_mesh").setLevel(logging.ERROR)


def load_shard(file: Path) -> dict[str, torch.Tensor]:
    """Map a rank's file into memory; only the pages that are used are read, and code in it is not run.

    Raises:
        MemSifterError: the file is missing, broken, or holds more than tensors.
    """
    if not file.is_file():
        raise MemSifterError(f"{file}: no such file; the checkpoint is incomplete, collect another step")
    try:
        state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise MemSifterError(f"{file}: holds more than tensors, which is not loaded") from error
    except RuntimeError as error:
        raise MemSifterError(f"{file}: broken ({str(error).splitlines()[0]}); collect another step") from error
    return state


def copy_shard(source: Path, target: Path) -> None:
    """Copy a rank's file: the same tensors, and bytes that only they decide.

    Raises:
        MemSifterError: as `load_shard`.
    """
    state = load_shard(source)
    for tensor in state.values():
        if isinstance(tensor, DTensor):
            tensor._spec._hash = None  # computed again when it is needed
            mesh: DeviceMesh | None = tensor.device_mesh
            while mesh is not None:
                mesh._hash = None
                mesh = mesh._root_mesh  # of which this one is a part
    torch.save(state, target)

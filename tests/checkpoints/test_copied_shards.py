import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor

from memsifter.checkpoints.shards import copy_shard

# As FSDP2 shards models, over a mesh of replicas and shards and over a part of one; their layouts have been looked up.
SAVE = """
import os, sys, torch
from torch.distributed import init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

os.chdir(sys.argv[1])
init_process_group("gloo", f"file://{sys.argv[1]}/init", rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("ddp", "fsdp"))
whole = torch.arange(12.0).reshape(3, 4)
for name, over, placements in (("mesh", mesh, [Replicate(), Shard(0)]), ("part", mesh["fsdp"], [Shard(1)])):
    state = {"sharded": distribute_tensor(whole, over, placements), "whole": torch.ones(2)}
    hash(state["sharded"]._spec)
    torch.save(state, name + ".pt")
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What two processes saved that hash differently."""
    folders = [tmp_path_factory.mktemp(f"seed{seed}") for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", SAVE, str(folder)], env=environment, check=True)
    return folders


@pytest.mark.parametrize("name", ["mesh", "part"])
def test_equal_weights_are_equal_files_whatever_process_saved_them(name: str, folders: list[Path]) -> None:
    saved = [folder / f"{name}.pt" for folder in folders]
    assert saved[0].read_bytes() != saved[1].read_bytes(), "torch saves Python's hashes"
    copies = [file.with_suffix(".copy") for file in saved]  # torch writes the file's name into it, too
    for file, copy in zip(saved, copies, strict=True):
        copy_shard(file, copy)
    assert copies[0].read_bytes() == copies[1].read_bytes()
    before, after = (torch.load(file, weights_only=True) for file in (saved[0], copies[0]))
    assert list(after) == ["sharded", "whole"]
    ours, theirs = (state["sharded"] for state in (after, before))
    assert isinstance(ours, DTensor)
    assert (ours.placements, ours.device_mesh) == (theirs.placements, theirs.device_mesh)
    assert torch.equal(ours.to_local(), theirs.to_local())
    assert torch.equal(after["whole"], before["whole"])

"""Checkpoints as verl's training saves them: a model sharded by FSDP2 over processes on the CPU, verl's own manager."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch.multiprocessing.spawn import spawn


@dataclass(frozen=True)
class Run:
    """What to save: the model's directory, the checkpoint's, and over how many processes (replicas x shards)."""

    model: Path
    actor: Path
    replicas: int
    shards: int


def save_runs(runs: Sequence[Run], scratch: Path) -> None:
    """Save every run's checkpoint; the processes start once, as many as the widest run needs."""
    widest = max(run.replicas * run.shards for run in runs)
    spawn(_save_rank, (list(runs), scratch), nprocs=widest)  # type: ignore[no-untyped-call]


def _save_rank(rank: int, runs: list[Run], scratch: Path) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    for number, run in enumerate(runs):
        world = run.replicas * run.shards
        if rank >= world:
            continue
        dist.init_process_group("gloo", f"file://{scratch}/run{number}", rank=rank, world_size=world)
        _save_shards(run)
        dist.destroy_process_group()


def _save_shards(run: Run) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

    model = AutoModelForCausalLM.from_pretrained(run.model, dtype="auto")
    shape, names = ((run.replicas, run.shards), ("ddp", "fsdp")) if run.replicas > 1 else ((run.shards,), ("fsdp",))
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    manager = FSDPCheckpointManager(
        model,
        processing_class=AutoTokenizer.from_pretrained(run.model),
        checkpoint_config=OmegaConf.create({"save_contents": ["model"]}),
    )
    manager.save_checkpoint(str(run.actor))

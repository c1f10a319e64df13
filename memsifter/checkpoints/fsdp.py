"""verl's FSDP shards as one Hugging Face model: verl's own merger, reading tensors only and keeping their precision.

verl 0.9.1 unpickles whatever a shard holds, reads all shards into memory and rounds every tensor to bfloat16. The two
loading steps are replaced here; finding the sharding, joining shards, tied weights and saving stay verl's.
"""

from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from verl.model_merger.base_model_merger import ModelMergerConfig
from verl.model_merger.fsdp_model_merger import FSDPModelMerger, merge_non_dtensor_shards

from memsifter.checkpoints.shards import load_shard
from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, write_json


def merge_shards(actor: Path, out: Path) -> None:
    """Write a verl actor checkpoint as a Hugging Face directory with weights of the trained precision.

    Args:
        actor: `global_step_N/actor` with one file of shards per rank, `fsdp_config.json` and `huggingface/`.
        out: an existing directory.

    Raises:
        MemSifterError: a rank's file is missing, broken, or holds more than tensors.
    """
    merger = _PreciseMerger(
        ModelMergerConfig(
            operation="merge",
            backend="fsdp",
            local_dir=str(actor),
            hf_model_config_path=str(actor / "huggingface"),
            target_dir=str(out),
            trust_remote_code=False,
        )
    )
    merger.merge_and_save()  # type: ignore[no-untyped-call]


class _PreciseMerger(FSDPModelMerger):
    def _load_rank_zero_state_dict(self, world_size: int) -> dict[str, torch.Tensor]:
        return load_shard(self._rank_file(world_size, 0))

    def _load_and_merge_state_dicts(
        self,
        world_size: int,
        total_shards: int,
        mesh_shape: tuple[int, ...],  # noqa: ARG002 (verl's signature)
        mesh_dim_names: tuple[str, ...],  # noqa: ARG002
    ) -> dict[str, torch.Tensor]:
        """Full tensors by name. `total_shards` is the extent of the sharding; further ranks hold replicas."""
        ranks = [load_shard(self._rank_file(world_size, rank)) for rank in range(total_shards)]
        for rank, state in enumerate(ranks):
            if state.keys() != ranks[0].keys():
                name = min(state.keys() ^ ranks[0].keys())
                raise MemSifterError(
                    f"{self._rank_file(world_size, rank)}: {name} is in one of this rank and rank 0 only"
                )
        return {name: self._join(name, [state[name] for state in ranks]) for name in sorted(ranks[0])}

    def save_hf_model_and_tokenizer(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Save as verl does, but with the config naming the type of the weights, not verl's bfloat16."""
        dtypes = {tensor.dtype for tensor in state_dict.values() if tensor.is_floating_point()}
        widest = max(dtypes, key=lambda dtype: dtype.itemsize)
        super().save_hf_model_and_tokenizer(state_dict)
        config = Path(str(self.config.target_dir)) / "config.json"
        write_json(config, read_json(config) | {"dtype": str(widest).removeprefix("torch.")})

    def _rank_file(self, world_size: int, rank: int) -> Path:
        return Path(str(self.config.local_dir)) / f"model_world_size_{world_size}_rank_{rank}.pt"

    def _join(self, name: str, shards: list[torch.Tensor]) -> torch.Tensor:
        """The full tensor of one parameter, of the type it was trained in."""
        first = shards[0]
        if not isinstance(first, DTensor):
            return merge_non_dtensor_shards(name, shards)
        locals_ = [shard.to_local() for shard in shards if isinstance(shard, DTensor)]
        # The last mesh dimension is the one over which FSDP shards; a first one of two replicates.
        return self._merge_by_placement(locals_, first.placements[-1])

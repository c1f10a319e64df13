from collections.abc import Iterator
from pathlib import Path

import pytest

from memsifter.llm.runtime import start_ray
from memsifter.models.tiny import write_tiny_model
from memsifter.params import ClusterParams, EngineParams
from memsifter.ranking.engine import build_engines, split_evenly


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    import ray

    ray.shutdown()
    start_ray(ClusterParams(num_cpus=2))
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("engines", "blocks", "in_flight"), [(1, 30, 16), (2, 5, 3), (8, 24, 3), (8, 4000, 16)])
def test_all_engines_start_at_once_and_share_the_blocks(
    tmp_path: Path, engines: int, blocks: int, in_flight: int
) -> None:
    write_tiny_model(tmp_path / "model")
    processor = build_engines(tmp_path / "model", EngineParams(), engines, 64, blocks, seed=1, logprobs=0)
    (name,) = [name for name in processor.list_stage_names() if "vLLM" in name]
    compute = processor.get_stage_by_name(name).map_batches_kwargs["compute"]
    assert (compute.min_size, compute.max_size) == (engines, engines)
    assert compute.max_tasks_in_flight_per_actor == in_flight


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("prompts", "batch_size"), [(500, 64), (512, 64), (130, 64), (5, 8), (1, 64)])
def test_every_block_has_the_rows_of_a_batch(prompts: int, batch_size: int) -> None:
    import ray.data

    blocks, fewest = split_evenly(prompts, batch_size)
    rows = ray.data.from_items([{"row": row} for row in range(prompts)], override_num_blocks=blocks)
    cut = [block.num_rows for bundle in rows.materialize().iter_internal_ref_bundles() for block in bundle.metadata]
    assert len(cut) == blocks
    assert min(cut) == fewest
    assert max(cut) <= batch_size

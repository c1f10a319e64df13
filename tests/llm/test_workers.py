from collections.abc import Iterator

import pyarrow as pa
import pytest

from memsifter.llm.runtime import start_ray
from memsifter.llm.workers import read_blocks
from memsifter.params import ClusterParams, LikelihoodParams

pytestmark = pytest.mark.slow

# Ray gives out GPUs that nobody has: what it makes of a worker with one is seen without one.
CLUSTER = ClusterParams(num_cpus=2, num_gpus=1)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    import ray

    ray.shutdown()
    start_ray(CLUSTER)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("gpus", [0.0, 1.0])
def test_each_block_is_one_call_also_of_a_worker_with_a_gpu(gpus: float) -> None:
    class Sums:  # a local class: Ray's workers cannot import this file
        def __init__(self, added: int) -> None:
            self.added = added

        def __call__(self, block: pa.Table) -> pa.Table:
            return pa.table({"rows": [block.num_rows], "sum": [sum(block["number"].to_pylist()) + self.added]})

    blocks = [pa.table({"number": [size] * size}) for size in (5, 3, 1, 1, 4, 2)]
    params = LikelihoodParams(workers=1, gpus_per_worker=gpus)
    tables = list(read_blocks(blocks, Sums, (100,), params, "retrieval.likelihood.workers", CLUSTER))
    rows = [row for table in tables for row in table.to_pylist()]
    assert sorted((row["rows"], row["sum"]) for row in rows) == [
        (1, 101),
        (1, 101),
        (2, 104),
        (3, 109),
        (4, 116),
        (5, 125),
    ]

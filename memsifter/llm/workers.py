"""Tables through a model on Ray, block by block: what the embedder and the likelihood have in common."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from memsifter.llm.runtime import require_resources, start_ray
from memsifter.params import ClusterParams, EmbedParams, LikelihoodParams

TableReader = Callable[[pa.Table], pa.Table]
_BLOCK = pa.large_binary()  # a table in Arrow's stream format


def read_blocks(
    blocks: Sequence[pa.Table],
    reader: Callable[..., TableReader],
    arguments: Sequence[Any],
    params: EmbedParams | LikelihoodParams,
    key: str,
    cluster: ClusterParams,
) -> Iterator[pa.Table]:
    """Give blocks to readers on Ray: each block is one call, alone, on whatever worker is free.

    Args:
        blocks: not empty.
        reader: a class whose instances turn a block into a table.
        arguments: of its constructor, which each worker calls once.
        params: how many workers there are, and the cores and GPUs of each.
        key: the parameter to lower if there are too few; for messages.
        cluster: which Ray; it is started if need be.

    Returns:
        What the readers made, as it comes, in tables of any number of rows.

    Raises:
        MemSifterError: this machine cannot give the workers what they ask for.
    """
    start_ray(cluster)
    import ray

    workers = min(params.workers, len(blocks))
    require_resources(cluster, key, workers * params.cpus_per_worker, workers * params.gpus_per_worker)
    # A row per block, since of a table's own rows Ray makes batches as it likes: where a worker has a GPU it insists on
    # a number of rows, and joins blocks until they have it. How many texts fit into memory together, the caller knows.
    rows = ray.data.from_arrow([pa.table({"block": pa.array([_to_bytes(block)], _BLOCK)}) for block in blocks])
    results = rows.map_batches(
        _Worker,
        fn_constructor_args=(reader, tuple(arguments)),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=params.cpus_per_worker,
        num_gpus=params.gpus_per_worker,
    )
    return iter(results.iter_batches(batch_size=None, batch_format="pyarrow"))


class _Worker:
    """The actor: a reader, and the blocks that it is given."""

    def __init__(self, reader: Callable[..., TableReader], arguments: tuple[Any, ...]) -> None:
        self._read = reader(*arguments)

    def __call__(self, row: pa.Table) -> pa.Table:
        """Read the one block of a row."""
        with pa.ipc.open_stream(row["block"][0].as_buffer()) as stream:
            return self._read(stream.read_all())


def _to_bytes(block: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as stream:
        stream.write_table(block)
    data: bytes = sink.getvalue().to_pybytes()
    return data

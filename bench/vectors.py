"""The vector cache against a store that is loaded and rewritten as a whole: python -m bench.vectors.

The reference keeps a Parquet table of keys and vectors, which pandas reads when it starts and writes again when it is
done, whether anything is new or not; the class that the scripts use for it is not published. The same with plain
arrays, the fastest that can be loaded and rewritten, is told beside it. Ours keeps immutable parts, maps them into
memory, and adds a part.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.side_by_side.rows import Result, Row, Scale, add_rows_option, finish
from bench.side_by_side.timing import alternate, seconds
from memsifter.retrieval.vectors import VectorCache, part_schema

_PART = 5000  # vectors of a part when the store is filled
_REPEATS = 3
_WAY = "a Parquet table, loaded and rewritten"

Vectors = NDArray[np.float32]
"""[N, D]"""


class WholeStore:
    """The reference: everything in memory, and everything written."""

    def __init__(self, directory: Path, plain: bool = False) -> None:
        self._plain, self._table = plain, directory / "store.parquet"
        self._keys, self._vectors = directory / "keys.npy", directory / "vectors.npy"

    def write(self, keys: list[bytes], vectors: Vectors) -> None:
        """Write all of it."""
        if self._plain:
            np.save(self._keys, np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1))
            np.save(self._vectors, vectors)
        else:
            pd.DataFrame({"key": keys, "vector": list(vectors)}).to_parquet(self._table)

    def update(self, keys: list[bytes], new: list[bytes], vectors: Vectors) -> Vectors:
        """Load all, add what is new, write all; the vectors of `keys`."""
        if self._plain:
            stored, loaded = [row.tobytes() for row in np.load(self._keys)], np.load(self._vectors)
        else:
            rows = pd.read_parquet(self._table)
            stored, loaded = rows["key"].tolist(), np.stack(rows["vector"].tolist())
        combined = np.concatenate([loaded, vectors])
        places = {key: place for place, key in enumerate([*stored, *new])}
        self.write([*stored, *new], combined)
        found: Vectors = combined[[places[key] for key in keys]]
        return found

    def size(self) -> int:
        """Bytes on the disk."""
        files = (self._keys, self._vectors) if self._plain else (self._table,)
        return sum(file.stat().st_size for file in files)


def main() -> None:
    """Compare at the full size; let ours grow for the scaling table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000, help="vectors in the store")
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--asked", type=int, default=2000, help="texts of the dataset that is embedded")
    parser.add_argument("--seed", type=int, default=7)
    add_rows_option(parser)
    finish(_measure(options := parser.parse_args()), options.rows)


def _measure(options: argparse.Namespace) -> Result:
    rng = np.random.default_rng(options.seed)
    keys = [rng.bytes(32) for _ in range(options.vectors)]
    vectors = rng.normal(size=(options.vectors, options.dimensions)).astype(np.float32)
    asked = [keys[place] for place in rng.choice(options.vectors, options.asked, replace=False)]
    none = np.empty((0, options.dimensions), np.float32)
    hundredth = options.vectors // 100
    new = vectors[:hundredth]
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-") as folder:
        small = _fill(Path(folder, "small"), keys[: options.vectors // 10], vectors)
        few = seconds(lambda: _look_up(small, keys[: options.asked]))
        cache = _fill(Path(folder, "parts"), keys, vectors)
        whole, plain = WholeStore(Path(folder)), WholeStore(Path(folder), plain=True)
        for store in (whole, plain):
            store.write(keys, vectors)
        found = cache.read(asked)["vector"].combine_chunks().flatten().to_numpy().reshape(len(asked), -1)
        if not np.array_equal(found, plain.update(asked, [], none)):
            raise AssertionError("both stores must give the same vectors")
        loaded, looked_up = alternate(lambda: whole.update(asked, [], none), lambda: _look_up(cache, asked))
        arrays = seconds(lambda: plain.update(asked, [], none))
        every = seconds(lambda: _look_up(cache, keys))
        batches = [[rng.bytes(32) for _ in new] for _ in range(2 * _REPEATS)]
        before = _size(Path(folder, "parts"))
        rewritten, added = alternate(
            lambda: whole.update([], batches.pop(), new), lambda: cache.append(_rows(batches.pop(), new)), _REPEATS
        )
        bytes_added = (_size(Path(folder, "parts")) - before) / _REPEATS
        bytes_rewritten = whole.size()
    needed = options.asked * 4 * options.dimensions
    floor = hundredth * (32 + 4 * options.dimensions)
    name = f"{options.vectors:,} vectors"
    rows = [
        Row(
            f"embed, nothing new: look {options.asked:,} texts up among {name}, and read their vectors",
            _WAY,
            loaded,
            looked_up,
            "CPU s",
            50,
            floor_is=f"{needed / 1e6:.1f} MB of vectors read, nothing written; ours also reads "
            f"{32 * len(keys) / 1e6:.1f} MB of keys",
            note="Half of it is Arrow's copying of the vectors. All keys are gone through twice, to see what is "
            "missing and to read; an index on the disk would save this, and could be damaged. Against plain arrays "
            f"the ratio is {arrays / looked_up:.1f}.",
        ),
        Row(
            f"add 1% new vectors to {name}",
            _WAY,
            rewritten,
            added,
            "CPU s",
            20,
            floor_is="the new rows written once",
            note="Ours writes one part and reads nothing.",
        ),
        Row(
            f"add 1% new vectors to {name}: written",
            _WAY,
            bytes_rewritten / 1e6,
            bytes_added / 1e6,
            "MB",
            50,
            floor / 1e6,
            "a key of 32 bytes and the vector, for each new text",
            "Arrow's offsets and padding come on top.",
        ),
    ]
    work = f"look {options.asked:,} texts up"
    scaling = [
        Scale(work, f"{options.vectors // 10:,} vectors in the store", few, "CPU s"),
        Scale(work, f"{options.vectors:,} vectors in the store", looked_up, "CPU s"),
        Scale("look every text up", f"{options.vectors:,} vectors in the store", every, "CPU s"),
    ]
    return Result(rows, scaling)


def _fill(directory: Path, keys: list[bytes], vectors: Vectors) -> VectorCache:
    directory.mkdir()
    cache = VectorCache(directory)
    for first in range(0, len(keys), _PART):
        cache.append(_rows(keys[first : first + _PART], vectors[first : first + len(keys[first : first + _PART])]))
    return cache


def _rows(keys: list[bytes], vectors: Vectors) -> pa.Table:
    empty = pa.array([[]] * len(keys), pa.list_(pa.int32())), pa.array([[]] * len(keys), pa.list_(pa.float32()))
    schema = part_schema(vectors.shape[1])
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return pa.table([pa.array(keys, schema.field("key").type), values, *empty], schema=schema)


def _look_up(cache: VectorCache, keys: list[bytes]) -> None:
    if cache.missing(keys).any():
        raise AssertionError("the store holds every key")
    cache.read(keys)


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


if __name__ == "__main__":
    main()

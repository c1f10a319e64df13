"""A memory at scale, and killed while it is written: python -m bench.memory [--kills N].

Sessions are made-up words, and an encoder that only hashes words stands in for the embedder, whose time is the same
however many sessions there are. Without --kills a memory is filled to each of the sizes; there it is timed how long one
more session takes to add, and how long a question to a user with so many sessions takes. Processor seconds are given
beside the clock's, which count what else the machine does.

With --kills processes that add sessions are killed at random moments, one after the other, on one file. Every session
that `add` had returned for must be there, whole, and nothing may be half there; exit code 1 if not.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tokenizers import Tokenizer, models, pre_tokenizers  # type: ignore[import-untyped]
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from bench.retrieval import make_text
from bench.side_by_side.rows import Result, Scale, add_rows_option, finish
from memsifter.params import EmbedParams
from memsifter.retrieval.embedder import TextReader
from memsifter.retrieval.vectors import part_schema
from memsifter.sifter.memory import Memory
from memsifter.sifter.sifter import Sifter

_DIMENSIONS = 64
_TURNS, _WORDS = 6, 20
_ROLES = ("user", "assistant")
_LONGEST_LIFE_S = 0.6
_MANY = "many"


class HashedEncoder:
    """An encoder without a model: a text's vector counts its words, each in the place that its hash names."""

    def __init__(self, params: EmbedParams | None = None) -> None:
        backend = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - no password
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")  # noqa: S106
        self.reader = TextReader(params or EmbedParams(), tokenizer, 512, "hashed")
        self.texts: list[str] = []  # all that was embedded

    def __call__(self, block: pa.Table) -> pa.Table:
        """Embed the texts of a block."""
        texts = block["text"].to_pylist()
        self.texts += texts
        vectors = np.full((len(texts), _DIMENSIONS), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.strip(".,?!:").encode()) % _DIMENSIONS] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        empty: list[list[int]] = [[] for _ in texts]
        columns = [block["key"].combine_chunks(), pa.FixedSizeListArray.from_arrays(vectors.ravel(), _DIMENSIONS)]
        columns += [pa.array(empty, pa.list_(pa.int32())), pa.array(empty, pa.list_(pa.float32()))]
        return pa.table(columns, schema=part_schema(_DIMENSIONS))


def main() -> None:
    """Print a table of times, or kill and check."""
    arguments = _read_arguments()
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-", dir=arguments.folder) as directory:
        path = Path(directory, "memory.sqlite")
        if arguments.kills:
            added, problems = kill_while_adding(path, arguments.kills, arguments.seed)
            print(f"{arguments.kills} kills, {added} sessions acknowledged: {'; '.join(problems) or 'nothing lost'}")
            sys.exit(1 if problems else 0)
        rows = _measure(path, sorted(arguments.sessions), arguments.haystack, arguments.seed)
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=("", "", ".1f", ".1f", ".2f", ".2f")))
    if arguments.rows:
        finish(Result([], [scale for row in rows for scale in _scales(row)]), arguments.rows)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1000, 100_000], help="sizes of the memory")
    parser.add_argument("--haystack", type=int, default=1000, help="sessions of the user who asks")
    parser.add_argument("--kills", type=int, default=0, help="kill so many processes while they add")
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile (default: the temporary folder)")
    parser.add_argument("--seed", type=int, default=7)
    add_rows_option(parser)
    return parser.parse_args()


def make_session(number: int, seed: int = 7) -> dict[str, Any]:
    """A made-up session; the same for the same number."""
    rng = random.Random(f"memory {seed} {number}")
    turns = [{"role": _ROLES[turn % 2], "content": make_text(rng, _WORDS)} for turn in range(_TURNS)]
    return {"id": f"s{number}", "date": f"2024-{1 + number % 12:02}-{1 + number % 28:02}", "turns": turns}


def _measure(path: Path, sizes: Sequence[int], haystack: int, seed: int) -> list[dict[str, float]]:
    rows = []
    number = 0
    with Sifter(HashedEncoder()) as sifter, Memory(path, sifter) as memory:
        memory.add_many(_MANY, (make_session(-1 - other, seed) for other in range(haystack)))
        for size in sizes:
            with tqdm(total=size - number, desc=f"fill to {size}", disable=None) as bar:
                while number + haystack < size:
                    user, batch = f"user{number // 100}", range(number, min(number + 100, size - haystack))
                    memory.add_many(user, (make_session(other, seed) for other in batch))
                    number += len(batch)
                    bar.update(len(batch))
            new = [make_session(10**9 + size + other, seed) for other in range(50)]
            adding = [_time(lambda session=session: memory.add("new", session)) for session in new]  # type: ignore[misc]
            questions = [make_text(random.Random(other), 8) for other in range(5)]
            asking = [_time(lambda text=text: memory.search(_MANY, text, "2024-12-31")) for text in questions]  # type: ignore[misc]
            rows.append(
                {
                    "sessions": size,
                    "of the user who asks": haystack,
                    "add one, ms": 1000 * median(clock for clock, _ in adding),
                    "CPU ms": 1000 * median(cpu for _, cpu in adding),
                    "ask, s": median(clock for clock, _ in asking),
                    "CPU s": median(cpu for _, cpu in asking),
                }
            )
    return rows


def _scales(row: dict[str, float]) -> list[Scale]:
    size = f"{row['sessions']:,.0f} sessions, {row['of the user who asks']:,.0f} of the user"
    return [
        Scale("memory: add a session", size, row["CPU ms"], "CPU ms"),
        Scale("memory: ask", size, 1000 * row["CPU s"], "CPU ms"),
    ]


def _time(work: Callable[[], object]) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def kill_while_adding(path: Path, kills: int, seed: int) -> tuple[int, list[str]]:
    """Kill processes at random moments while they add sessions to one memory.

    Returns:
        How many sessions were acknowledged, and what was then lost or half there.
    """
    rng = random.Random(seed)
    encoder = HashedEncoder()
    acknowledged: list[int] = []
    for _ in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _add_for_ever(path, encoder, first=len(acknowledged), acknowledge=writing)
            finally:
                os._exit(1)
        os.close(writing)
        os.read(reading, 1)  # it is open
        time.sleep(rng.uniform(0, _LONGEST_LIFE_S))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as stream:
            # A number that was cut off in the pipe was acknowledged, too, but which it was is not known.
            lines = [line for line in stream.read().splitlines(keepends=True) if line.endswith(b"\n")]
        acknowledged += [int(line) for line in lines]
    with Sifter(encoder) as sifter, Memory(path, sifter) as memory:
        problems = memory.check()
        kept = {session.session_id: session for session in memory.sessions("ann")}
        for number in acknowledged:
            made = make_session(number)
            session = kept.get(made["id"])
            if session is None:
                problems.append(f"session {number} is lost")
            elif [turn.content for turn in session.turns] != [turn["content"] for turn in made["turns"]]:
                problems.append(f"session {number} is another")
        last = make_session(acknowledged[-1])
        if memory.search("ann", last["turns"][0]["content"], top_k=1)[0].id != last["id"]:
            problems.append("the last session is not found")
    return len(acknowledged), problems


def _add_for_ever(path: Path, encoder: HashedEncoder, first: int, acknowledge: int) -> None:
    memory = Memory(path, Sifter(encoder))
    os.write(acknowledge, b"+")
    number = first
    while True:
        memory.add("ann", make_session(number))
        os.write(acknowledge, f"{number}\n".encode())
        number += 1


if __name__ == "__main__":
    main()

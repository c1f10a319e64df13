"""The embedder in this process: the pipeline's encoder without Ray, loaded when it is first needed."""

import math
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol

import pyarrow as pa
from tqdm import tqdm

from memsifter.errors import MemSifterError
from memsifter.models.check import quiet_transformers
from memsifter.retrieval.embedder import TextReader, Vectors, missing_blocks, open_reader
from memsifter.retrieval.encoder import Encoder, EncoderFiles

_SHOW_AFTER_S = 3.0

DEADLINE: ContextVar[float] = ContextVar("DEADLINE", default=math.inf)
"""The value of `time.monotonic` at which a caller has stopped waiting for embeddings."""


class OutOfTimeError(MemSifterError):
    """The caller's `DEADLINE` passed. What was embedded by then is kept."""


class TextEncoder(Protocol):
    """What turns texts into embeddings."""

    @property
    def reader(self) -> TextReader:
        """How it reads texts, and which vectors it gives."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """Embed the texts of a `memsifter.retrieval.encoder.text_block`; rows of `part_schema`."""


class LocalEncoder:
    """The encoder of stage `embed`, for several threads, which take turns."""

    def __init__(self, files: EncoderFiles) -> None:
        """Check the files; the weights are loaded with the first text.

        Raises:
            MemSifterError: the model cannot serve its settings.
        """
        self.reader = open_reader(files)
        self._files = files
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Embed the texts of a block."""
        with self._lock:
            if self._encoder is None:
                with quiet_transformers():
                    self._encoder = Encoder(str(self._files.directory), self._files.params, self.reader.max_tokens)
            return self._encoder(block)


def encode_missing(texts: Mapping[bytes, str], vectors: Vectors, encoder: TextEncoder) -> int:
    """Add the embeddings of texts, by `text_key`, that are missing.

    Returns:
        How many were computed.

    Raises:
        OutOfTimeError: the `DEADLINE` passed before all were.
    """
    blocks = missing_blocks(texts, vectors, encoder.reader.params)
    total = sum(map(len, blocks))
    with tqdm(total=total, desc="embed", unit="text", disable=None, delay=_SHOW_AFTER_S) as bar:
        for number, block in enumerate(blocks):
            if time.monotonic() > DEADLINE.get():
                known = sum(map(len, blocks[:number]))
                raise OutOfTimeError(f"{known} of {total} new texts were embedded in time and are kept; ask again")
            vectors.append(encoder(block))
            bar.update(len(block))
    return total

"""The parts of sessions that are embedded: turns, windows of turns, and chunks of as many tokens as fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.sessions import render_turns
from memsifter.corpus.store import Dataset
from memsifter.params import EmbedParams, RetrievalParams, Unit
from memsifter.retrieval.chunks import chunk_texts
from memsifter.retrieval.lexical import window_turns
from memsifter.retrieval.vectors import Embeddings


@dataclass(frozen=True)
class EmbeddedUnits:
    """Embeddings of one kind of part, session after session in the order of `Dataset.session_keys`.

    Attributes:
        embeddings: of the parts.
        offsets: int64 [sessions + 1]; session s owns the rows offsets[s] up to offsets[s + 1].
    """

    embeddings: Embeddings
    offsets: NDArray[np.int64]

    @cached_property
    def means(self) -> NDArray[np.float32]:
        """The mean vector of each session's parts, at length 1; float32 [sessions, D]."""
        sums = np.add.reduceat(self.embeddings.dense, self.offsets[:-1], axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        means: NDArray[np.float32] = sums / np.where(lengths > 0, lengths, 1)
        return means


@dataclass(frozen=True)
class EmbeddedDataset:
    """Embeddings of a dataset's questions, in its order, and of the parts of its distinct sessions."""

    questions: Embeddings
    units: Mapping[Unit, EmbeddedUnits]


def unit_texts(
    dataset: Dataset, units: Iterable[Unit], tokenizer: Any, embed: EmbedParams, retrieval: RetrievalParams
) -> dict[Unit, list[tuple[str, ...]]]:
    """The texts of each kind of part: one non-empty tuple per distinct session, in the order of its keys.

    A turn or window of turns that is longer than the model reads is cut by the model; chunks lose nothing.

    Raises:
        MemSifterError: the special tokens leave no more of a chunk than its overlap.
    """
    texts: dict[Unit, list[tuple[str, ...]]] = {}
    for unit in units:
        if unit == "chunk":
            sessions = [dataset.text(key) for key in dataset.session_keys]
            texts[unit] = list(chunk_texts(sessions, tokenizer, embed.chunk_tokens, embed.chunk_overlap))
        else:
            size = 1 if unit == "turn" else retrieval.bm25.window_turns
            texts[unit] = [_join_turns(dataset, key, size) for key in dataset.session_keys]
    return texts


def _join_turns(dataset: Dataset, session_key: str, size: int) -> tuple[str, ...]:
    turns = dataset.turns(session_key)
    return tuple(render_turns(turns[first:last]) for first, last in window_turns(len(turns), size))

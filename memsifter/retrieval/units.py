"""The units of a session that are embedded: turns, windows of turns, and chunks of as many tokens as fit."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.sessions import Turn, render_turns
from memsifter.corpus.store import Dataset
from memsifter.params import EmbedParams, Unit
from memsifter.retrieval.chunks import chunk_texts


class UnitText(NamedTuple):
    """One unit: its half-open range (in turns; for a chunk in tokens of the rendered session) and its text."""

    first: int
    end: int
    text: str


def window_turns(num_turns: int, size: int) -> NDArray[np.int64]:
    """Half-open ranges of `size` turns that overlap by half and together cover all turns; int64 [windows, 2]."""
    stride = max(1, size // 2)
    starts = np.arange(0, max(1, num_turns - size + stride), stride, dtype=np.int64)
    return np.stack([starts, np.minimum(starts + size, num_turns)], axis=1)


def unit_texts(
    dataset: Dataset, session_keys: Sequence[str], tokenizer: Any, params: EmbedParams
) -> dict[Unit, list[list[UnitText]]]:
    """The units of `embed.units`: for each kind one list, never empty, per session, in the order of the keys given.

    A turn or window of turns that is longer than the model reads is cut by the model; chunks lose nothing.

    Raises:
        MemSifterError: the special tokens leave no more of a chunk than its overlap.
    """
    texts: dict[Unit, list[list[UnitText]]] = {}
    for unit in params.units:
        if unit == "chunk":
            sessions = [dataset.text(key) for key in session_keys]
            chunks = chunk_texts(sessions, tokenizer, params.chunk_tokens, params.chunk_overlap)
            texts[unit] = [[UnitText(*chunk) for chunk in session] for session in chunks]
        else:
            size = 1 if unit == "turn" else params.window_turns
            texts[unit] = [_join_turns(dataset.turns(key), size) for key in session_keys]
    return texts


def _join_turns(turns: Sequence[Turn], size: int) -> list[UnitText]:
    windows = window_turns(len(turns), size).tolist()
    return [UnitText(first, end, render_turns(turns[first:end])) for first, end in windows]

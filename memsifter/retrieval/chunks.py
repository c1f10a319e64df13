"""Overlapping chunks of a session, measured in the embedder's own tokens.

An encoder represents a few hundred tokens well and a whole session badly, so a session is embedded chunk by chunk. A
chunk ends between two lines where it can (a turn, or a line of a long turn), else between two words, and inside a word
only when that word is longer than a chunk.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memsifter.errors import MemSifterError

_TEXTS_PER_BATCH = 256


@dataclass(frozen=True)
class TokenizedText:
    """Where the tokens of one text lie.

    Attributes:
        starts: int64 [T], first character of each token.
        ends: int64 [T], one past the last character of each token.
        lines: int64, sorted token indices at which a line begins.
        words: int64, sorted token indices at which a word begins.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    words: NDArray[np.int64]


def chunk_texts(
    texts: Sequence[str], tokenizer: Any, chunk_tokens: int, chunk_overlap: int
) -> Iterator[list[tuple[int, int, str]]]:
    """Split rendered sessions into chunks; yields one list per session, in order, never empty.

    A chunk is its first token, one past its last token (counted without special tokens), and its text.

    Args:
        texts: rendered sessions, at least one line per turn (`memsifter.corpus.sessions.render_turns`).
        tokenizer: a fast Hugging Face tokenizer, the embedder's.
        chunk_tokens: most tokens of a chunk, special tokens included.
        chunk_overlap: most tokens that a chunk repeats of the one before it.

    Raises:
        MemSifterError: the special tokens leave no more than the overlap.
    """
    budget = chunk_tokens - tokenizer.num_special_tokens_to_add()
    if budget <= chunk_overlap:
        raise MemSifterError(
            f"embed.chunk_tokens: {chunk_tokens} leaves {budget} beside the model's special tokens, which must be "
            f"more than embed.chunk_overlap ({chunk_overlap})"
        )
    for first in range(0, len(texts), _TEXTS_PER_BATCH):
        batch = texts[first : first + _TEXTS_PER_BATCH]
        for text, tokens in zip(batch, locate_tokens(batch, tokenizer), strict=True):
            spans = split_tokens(tokens, budget, chunk_overlap)
            # A text without any token is still a session and needs a vector.
            yield [(a, b, text[tokens.starts[a] : tokens.ends[b - 1]]) for a, b in spans] or [(0, 0, text)]


def locate_tokens(texts: Sequence[str], tokenizer: Any) -> Iterator[TokenizedText]:
    """Tokenize rendered sessions in one batch and find the tokens that begin a line or a word."""
    encodings = tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    for index, text in enumerate(texts):
        offsets = np.asarray(encodings["offset_mapping"][index], dtype=np.int64).reshape(-1, 2)
        starts, ends = offsets[:, 0], offsets[:, 1]
        words = np.asarray([-1 if word is None else word for word in encodings.word_ids(index)], dtype=np.int64)
        line_starts = [match.end() for match in re.finditer(r"^|\n", text)]
        lines = np.unique(np.searchsorted(starts, line_starts))
        yield TokenizedText(starts, ends, lines, np.flatnonzero(np.diff(words, prepend=-2)))


def split_tokens(tokens: TokenizedText, budget: int, overlap: int) -> list[tuple[int, int]]:
    """Cut a token sequence into half-open ranges of at most `budget` tokens that together cover every token.

    A range after the first begins at most `overlap` tokens before the end of the one before it: at a line if one begins
    there, else at a word.
    """
    total = len(tokens.starts)
    spans: list[tuple[int, int]] = []
    start = end = 0
    while end < total:
        end = total if start + budget >= total else _last_boundary(tokens, end + 1, start + budget)
        spans.append((start, end))
        start = _first_boundary(tokens, max(end - overlap, start + 1), end)
    return spans


def _last_boundary(tokens: TokenizedText, low: int, high: int) -> int:
    """The last line start in [low, high], else the last word start, else `high`."""
    for boundaries in (tokens.lines, tokens.words):
        position = int(np.searchsorted(boundaries, high, side="right")) - 1
        if position >= 0 and boundaries[position] >= low:
            return int(boundaries[position])
    return high


def _first_boundary(tokens: TokenizedText, low: int, high: int) -> int:
    """The first line start in [low, high), else the first word start, else `high`."""
    for boundaries in (tokens.lines, tokens.words):
        position = int(np.searchsorted(boundaries, low))
        if position < len(boundaries) and boundaries[position] < high:
            return int(boundaries[position])
    return high

import re
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from memsifter.errors import MemSifterError
from memsifter.retrieval.chunks import TokenizedText, chunk_texts, locate_tokens, split_tokens


@cache
def letter_tokenizer() -> Any:
    """A real fast tokenizer with one token per letter and two special tokens around a text."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ":", *"abcdefghij", *(f"##{c}" for c in "abcdefghij")]
    return BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


words = st.text("abcdefghij", min_size=1, max_size=9)
lines = st.lists(words, min_size=1, max_size=12).map(" ".join)
sessions = st.lists(lines, min_size=1, max_size=8).map("\n".join)


def split(text: str, chunk_tokens: int, chunk_overlap: int) -> list[str]:
    """The texts of the chunks of one session."""
    (chunks,) = chunk_texts([text], letter_tokenizer(), chunk_tokens, chunk_overlap)
    return [chunk for _, _, chunk in chunks]


@settings(max_examples=200, deadline=None)
@given(text=sessions, size=st.integers(4, 40), data=st.data())
def test_chunks_fit_overlap_little_and_cover_every_token(text: str, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 3))
    tokens = next(locate_tokens([text], letter_tokenizer()))
    spans = split_tokens(tokens, size - 2, overlap)
    assert {token for first, last in spans for token in range(first, last)} == set(range(len(tokens.starts)))
    assert all(0 < last - first <= size - 2 for first, last in spans)
    for (first, last), (next_first, next_last) in pairwise(spans):
        assert first < next_first <= last < next_last
        assert last - next_first <= overlap


@settings(max_examples=100, deadline=None)
@given(text=sessions, size=st.integers(12, 40))
def test_chunks_encode_within_the_limit_and_keep_words_whole(text: str, size: int) -> None:
    chunks = list(split(text, size, 0))
    assert all(len(letter_tokenizer()(chunk).input_ids) <= size for chunk in chunks)
    # Words have at most 9 letters and always fit: without overlap the chunks' words are exactly the text's.
    assert [word for chunk in chunks for word in chunk.split()] == text.split()


def test_chunks_end_between_turns_where_they_can() -> None:
    turns = ["a: bcd efg", "b: hij", "a: bb cc", "b: d"]
    assert split("\n".join(turns), 16, 6) == ["\n".join(turns[:2]), "\n".join(turns[1:])]


def test_an_overlong_turn_is_cut_between_words_and_an_overlong_word_inside() -> None:
    assert split("aaaa bbbb cccc", 12, 4) == ["aaaa bbbb", "bbbb cccc"]
    assert [len(chunk) for chunk in split("a" * 25, 12, 2)] == [10, 10, 5]


def test_a_session_that_fits_is_one_chunk_and_a_blank_one_is_kept() -> None:
    found = list(chunk_texts(["a: bc\nb: d", "  "], letter_tokenizer(), 16, 4))
    assert found == [[(0, 7, "a: bc\nb: d")], [(0, 0, "  ")]]


def test_a_chunk_says_which_tokens_it_holds() -> None:
    text = "aaaa bbbb cccc"
    (chunks,) = chunk_texts([text], letter_tokenizer(), 12, 4)
    assert chunks == [(0, 8, "aaaa bbbb"), (4, 12, "bbbb cccc")]


def test_many_sessions_are_tokenized_in_batches() -> None:
    texts = [f"a: {'b' * (number % 7 + 1)}" for number in range(600)]
    assert list(chunk_texts(texts, letter_tokenizer(), 16, 4)) == [[(0, len(text) - 1, text)] for text in texts]


def test_a_chunk_must_hold_more_than_its_overlap() -> None:
    with pytest.raises(MemSifterError, match=re.escape("embed.chunk_tokens: 16 leaves 14")):
        next(chunk_texts(["a"], letter_tokenizer(), 16, 14))


def test_lines_and_words_are_located() -> None:
    tokens = next(locate_tokens(["ab c\n\nd"], letter_tokenizer()))
    assert isinstance(tokens, TokenizedText)
    assert (tokens.starts.tolist(), tokens.ends.tolist()) == ([0, 1, 3, 6], [1, 2, 4, 7])
    assert (tokens.words.tolist(), tokens.lines.tolist()) == ([0, 2, 3], [0, 3])
    assert tokens.starts.dtype == np.int64

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


@settings(max_examples=200, deadline=None)
@given(text=sessions, size=st.integers(4, 40), data=st.data())
def test_windows_fit_overlap_little_and_cover_every_token(text: str, size: int, data: st.DataObject) -> None:
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
def test_windows_encode_within_the_limit_and_keep_words_whole(text: str, size: int) -> None:
    windows = next(chunk_texts([text], letter_tokenizer(), size, 0))
    assert all(len(letter_tokenizer()(window).input_ids) <= size for window in windows)
    # Words have at most 9 letters and always fit: without overlap the windows' words are exactly the text's.
    assert [word for window in windows for word in window.split()] == text.split()


def test_windows_end_between_turns_where_they_can() -> None:
    turns = ["a: bcd efg", "b: hij", "a: bb cc", "b: d"]
    windows = next(chunk_texts(["\n".join(turns)], letter_tokenizer(), 16, 6))
    assert windows == ("\n".join(turns[:2]), "\n".join(turns[1:]))


def test_an_overlong_turn_is_cut_between_words_and_an_overlong_word_inside() -> None:
    windows = next(chunk_texts(["aaaa bbbb cccc"], letter_tokenizer(), 12, 4))
    assert windows == ("aaaa bbbb", "bbbb cccc")
    windows = next(chunk_texts(["a" * 25], letter_tokenizer(), 12, 2))
    assert [len(window) for window in windows] == [10, 10, 5]


def test_a_session_that_fits_is_one_window_and_a_blank_one_is_kept() -> None:
    assert list(chunk_texts(["a: bc\nb: d", "  "], letter_tokenizer(), 16, 4)) == [("a: bc\nb: d",), ("  ",)]


def test_many_sessions_are_tokenized_in_batches() -> None:
    texts = [f"a: {'b' * (number % 7 + 1)}" for number in range(600)]
    assert list(chunk_texts(texts, letter_tokenizer(), 16, 4)) == [(text,) for text in texts]


def test_a_window_must_hold_more_than_its_overlap() -> None:
    with pytest.raises(MemSifterError, match=re.escape("embed.chunk_tokens: 16 leaves 14")):
        next(chunk_texts(["a"], letter_tokenizer(), 16, 14))


def test_lines_and_words_are_located() -> None:
    tokens = next(locate_tokens(["ab c\n\nd"], letter_tokenizer()))
    assert isinstance(tokens, TokenizedText)
    assert (tokens.starts.tolist(), tokens.ends.tolist()) == ([0, 1, 3, 6], [1, 2, 4, 7])
    assert (tokens.words.tolist(), tokens.lines.tolist()) == ([0, 2, 3], [0, 3])
    assert tokens.starts.dtype == np.int64

"""Text to term counts: lower-cased words, English stop words out, English stems; Chinese segmented into words."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import scipy.sparse as sp
import Stemmer
from bm25s.stopwords import STOPWORDS_EN_PLUS

from memsifter.segmentation import segment_han

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"(?P<han>[{_HAN}]+)|[^\W{_HAN}]+")
_STOP_WORD = -1


def split_words(text: str) -> Iterator[str]:
    """The lower-cased words and numbers of a text, in order."""
    for match in _WORD.finditer(text.lower()):
        if match["han"]:
            yield from segment_han(match["han"])
        else:
            yield match[0]


def count_terms(rows: Iterable[Sequence[int]], num_terms: int) -> sp.csr_matrix:
    """Count term ids; float32 [rows, num_terms]."""
    ids = [np.asarray(row, dtype=np.int32) for row in rows]
    columns = np.concatenate([np.empty(0, dtype=np.int32), *ids])
    offsets = np.cumsum([0, *map(len, ids)])
    counts = sp.csr_matrix((np.ones(len(columns), np.float32), columns, offsets), shape=(len(ids), num_terms))
    counts.sum_duplicates()
    return counts


class Vocabulary:
    """Numbers the terms it meets; each distinct word is stemmed once."""

    def __init__(self) -> None:
        self._stem = Stemmer.Stemmer("english").stemWord
        self._terms: dict[str, int] = {}
        self._words: dict[str, int] = dict.fromkeys(STOPWORDS_EN_PLUS, _STOP_WORD)

    def __len__(self) -> int:
        return len(self._terms)

    def number(self, texts: Iterable[str]) -> list[list[int]]:
        """The terms of each text as numbers, in order, learning new ones."""
        return [[term for word in split_words(text) if (term := self._learn(word)) != _STOP_WORD] for text in texts]

    def count(self, texts: Iterable[str]) -> sp.csr_matrix:
        """Count the terms of each text, learning new ones; float32 [texts, len(self) afterwards]."""
        return count_terms(self.number(texts), len(self))

    def _learn(self, word: str) -> int:
        term = self._words.get(word)
        if term is None:
            term = self._words[word] = self._terms.setdefault(self._stem(word), len(self._terms))
        return term

"""Text to term counts, and Okapi BM25 as a sparse matrix that is made once and multiplied with every query."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import Stemmer
from bm25s.stopwords import STOPWORDS_EN_PLUS
from numpy.typing import NDArray

from memsifter.corpus.sessions import Turn, render_turns
from memsifter.corpus.words import split_words

_STOP_WORD = -1


def count_terms(rows: Iterable[Sequence[int] | NDArray[np.int32]], num_terms: int) -> sp.csr_matrix:
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

    @property
    def terms(self) -> tuple[str, ...]:
        """All terms, by their numbers."""
        return tuple(self._terms)

    def adopt(self, terms: Iterable[str]) -> list[int]:
        """The numbers of terms that another vocabulary has made of words, learning new ones."""
        return [self._terms.setdefault(term, len(self._terms)) for term in terms]

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


@dataclass(frozen=True)
class SessionTerms:
    """The terms of one session, which may be kept: they depend on its turns alone.

    Attributes:
        terms: its distinct terms, in the order in which they first occur.
        turns: for each turn its terms in order, as numbers into `terms`.
    """

    terms: tuple[str, ...]
    turns: tuple[Sequence[int] | NDArray[np.int32], ...]


def read_terms(turns: Sequence[Turn]) -> SessionTerms:
    """The terms of a session."""
    vocabulary = Vocabulary()
    numbered = vocabulary.number(render_turns([turn]) for turn in turns)
    return SessionTerms(vocabulary.terms, tuple(numbered))


def bm25_weights(
    documents: sp.csr_matrix, k1: float, b: float, lengths: NDArray[np.floating[Any]] | None = None
) -> sp.csr_matrix:
    """What one occurrence of each term in a query adds to each document's score, with the documents as the corpus.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), eq. 3.15, with the inverse
    document frequency of Lucene, log(1 + (N - df + .5) / (df + .5)), and without the constant factor k1 + 1.

    Args:
        documents: term counts, float32 [N, V].
        k1: how slowly the weight of a repeated term saturates.
        b: how much long documents are held back, from 0 to 1.
        lengths: [N], how many terms each document has, where `documents` holds only some of them.

    Returns:
        float32 [N, V]. Scores of queries are `multiply(queries, weights)`; a document's weights depend on the corpus,
        and not on which other documents it is compared with.
    """
    if lengths is None:
        lengths = np.asarray(documents.sum(axis=1), dtype=np.float64).ravel()
    frequencies = np.bincount(documents.indices, minlength=documents.shape[1])
    idf = np.log1p((len(lengths) - frequencies + 0.5) / (frequencies + 0.5))
    relative_lengths = lengths / (lengths.mean() or 1.0)
    saturation = np.repeat(k1 * (1 - b + b * relative_lengths), np.diff(documents.indptr))
    values = idf[documents.indices] * documents.data / (documents.data + saturation)
    return sp.csr_matrix((values.astype(np.float32), documents.indices, documents.indptr), shape=documents.shape)


def multiply(queries: sp.csr_matrix, weights: sp.csr_matrix) -> NDArray[np.float32]:
    """Score every row of `weights` for every query.

    Args:
        queries: term counts or weights, float32 [Q, V]; a repeated query term counts as often as it is repeated.
        weights: float32 [N, V].

    Returns:
        float32 [Q, N]; zeros where no term is shared.
    """
    terms = np.unique(queries.indices)  # a few of many: the others need not be transposed
    return np.asarray((queries[:, terms] @ weights[:, terms].T).toarray(), dtype=np.float32)

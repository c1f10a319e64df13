"""Pairs of neighbouring terms: a question's exact phrases, which single terms cannot tell from the same words apart."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_TERM_BITS = 32


def count_phrases(
    texts: Sequence[Sequence[int]], questions: Sequence[Sequence[int]]
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Count the pairs of terms that follow one another, those that some question has.

    Args:
        texts: numbers of the terms of each text, in order (`Vocabulary.number`).
        questions: the same for each question.

    Returns:
        Two float32 matrices over the same columns: [texts, pairs] and [questions, pairs].
    """
    asked, asked_rows = _pairs(questions)
    known, columns = np.unique(asked, return_inverse=True)
    pairs, rows = _pairs(texts)
    places = np.searchsorted(known, pairs)
    found = np.flatnonzero(np.append(known, -1)[places] == pairs)
    return (
        _count(rows[found], places[found], (len(texts), len(known))),
        _count(asked_rows, columns, (len(questions), len(known))),
    )


def _pairs(texts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of all texts, each as one number, and the text that each stands in."""
    lengths = np.asarray([len(text) for text in texts], dtype=np.int64)
    terms = np.asarray([term for text in texts for term in text], dtype=np.int64)
    owners = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    within = np.flatnonzero(owners[1:] == owners[:-1])
    return (terms[within] << _TERM_BITS) | terms[within + 1], owners[within]


def _count(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)

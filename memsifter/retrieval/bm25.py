"""Okapi BM25 as a sparse matrix of term weights, made once for a collection and multiplied with every query."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


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

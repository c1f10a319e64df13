"""Scores by embeddings: cosines of turns, windows, chunks and whole sessions, and what an M3 model adds to them."""

import numpy as np
from numpy.typing import NDArray

from memsifter.retrieval.bm25 import multiply
from memsifter.retrieval.embeddings import EmbeddedUnits, Embeddings
from memsifter.retrieval.score_lists import max_per_group, select_groups

Scores = NDArray[np.float32]

# Components become whole multiples of 2^-26, so that the product of two vectors of length 1 is a sum of whole numbers
# below 2^53, which float64 adds without rounding, whatever the order.
_FIXED_POINT = 2.0**26


def dot_products(left: NDArray[np.float32], right: NDArray[np.float32]) -> Scores:
    """Dot products of rows of length 1, whose bits depend on the two rows alone.

    A BLAS library adds in an order that follows the shapes of the matrices, the threads and the CPU, so that a float32
    product has other last bits beside other rows. Here nothing is rounded before the end. The components lose less than
    2^-27, which changes a cosine by less than a float32 near 1 can tell.

    Args:
        left: [N, D].
        right: [M, D].

    Returns:
        float32 [N, M].
    """
    products = _to_whole_numbers(left) @ _to_whole_numbers(right).T
    products *= _FIXED_POINT**-2
    return products.astype(np.float32)


def _to_whole_numbers(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    scaled = rows * np.float32(_FIXED_POINT)
    np.rint(scaled, out=scaled)
    return scaled.astype(np.float64)


def cosines(
    questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]
) -> tuple[Scores, NDArray[np.int64]]:
    """Cosine of each question with every unit of some sessions.

    Args:
        questions: embeddings of Q questions.
        units: units of all sessions.
        sessions: int64 [S], numbers of sessions.

    Returns:
        float32 [Q, units], and int64 [S] where each session's units start among them.
    """
    rows, starts = select_groups(units.offsets, sessions)
    return dot_products(questions.dense, units.embeddings.dense[rows]), starts


def session_cosines(questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]) -> Scores:
    """Cosine of each question with the mean vector of each session's units; float32 [Q, S]."""
    return dot_products(questions.dense, units.means[sessions])


def term_weight_scores(questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]) -> Scores:
    """Dot product of the model's own term weights, best unit of each session; float32 [Q, S]."""
    rows, starts = select_groups(units.offsets, sessions)
    return max_per_group(multiply(questions.lexical, units.embeddings.lexical[rows]), starts)


def multi_vector_scores(questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]) -> Scores:
    """Late interaction, best unit of each session; float32 [Q, S].

    For every token of the question the best cosine with a token of the unit, averaged over the question's tokens
    (Khattab and Zaharia, "ColBERT", 2020, eq. 3, with the mean in place of the sum).
    """
    rows, starts = select_groups(units.offsets, sessions)
    tokens = units.embeddings.tokens.rows(rows)
    scores = np.empty((questions.tokens.count, len(rows)), dtype=np.float32)
    # Question by question: every pair of tokens of a haystack and of many questions would not fit into memory.
    for row in range(len(scores)):
        question = questions.tokens.rows(np.asarray([row])).vectors
        products = dot_products(question, tokens.vectors)
        scores[row] = np.maximum.reduceat(products, tokens.offsets[:-1], axis=1).mean(axis=0)
    return max_per_group(scores, starts)

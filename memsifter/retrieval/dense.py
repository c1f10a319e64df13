"""Scores by embeddings: cosines of turns, windows, chunks and whole sessions, and what an M3 model adds to them."""

import numpy as np
from numpy.typing import NDArray

from memsifter.retrieval.bm25 import multiply
from memsifter.retrieval.score_lists import max_per_group, select_groups
from memsifter.retrieval.units import EmbeddedUnits
from memsifter.retrieval.vectors import Embeddings

Scores = NDArray[np.float32]


def cosines(
    questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]
) -> tuple[Scores, NDArray[np.int64]]:
    """Cosine of each question with every part of some sessions, as one product.

    Args:
        questions: embeddings of Q questions.
        units: parts of the sessions.
        sessions: int64 [S], numbers of sessions.

    Returns:
        float32 [Q, parts], and int64 [S] where each session's parts start among them.
    """
    rows, starts = select_groups(units.offsets, sessions)
    return questions.dense @ units.embeddings.dense[rows].T, starts


def session_cosines(questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]) -> Scores:
    """Cosine of each question with the mean vector of each session's parts; float32 [Q, S]."""
    return questions.dense @ units.means[sessions].T


def term_weight_scores(questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]) -> Scores:
    """Product of the model's own term weights, best part of each session; float32 [Q, S]."""
    rows, starts = select_groups(units.offsets, sessions)
    return max_per_group(multiply(questions.lexical, units.embeddings.lexical[rows]), starts)


def multi_vector_scores(questions: Embeddings, units: EmbeddedUnits, sessions: NDArray[np.int64]) -> Scores:
    """Late interaction, best part of each session; float32 [Q, S].

    For every token of the question the best cosine with a token of the part, averaged over the question's tokens
    (Khattab and Zaharia, "ColBERT", 2020, eq. 3, with the mean in place of the sum).
    """
    rows, starts = select_groups(units.offsets, sessions)
    tokens = units.embeddings.tokens.rows(rows)
    scores = np.empty((questions.tokens.count, len(rows)), dtype=np.float32)
    # Question by question: every pair of tokens of a haystack and of many questions would not fit into memory.
    for row in range(len(scores)):
        asked = questions.tokens.rows(np.asarray([row])).vectors
        scores[row] = np.maximum.reduceat(asked @ tokens.vectors.T, tokens.offsets[:-1], axis=1).mean(axis=0)
    return max_per_group(scores, starts)

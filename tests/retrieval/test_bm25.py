import math
import random

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.retrieval.bm25 import bm25_weights, count_terms, multiply

NUM_TERMS = 12
texts = st.lists(st.integers(0, NUM_TERMS - 1), max_size=15)
parameters = {"k1": st.floats(0.1, 3), "b": st.floats(0, 1)}


def plain_bm25(documents: list[list[int]], query: list[int], k1: float, b: float) -> list[float]:
    mean_length = sum(len(document) for document in documents) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in query:
            frequency = document.count(term)
            if frequency:
                containing = sum(term in other for other in documents)
                idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
                score += idf * frequency / (frequency + k1 * (1 - b + b * len(document) / mean_length))
        scores.append(score)
    return scores


@settings(max_examples=150, deadline=None)
@given(documents=st.lists(texts, min_size=1, max_size=8), queries=st.lists(texts, min_size=1, max_size=4), **parameters)
def test_scores_equal_the_formula_written_out(
    documents: list[list[int]], queries: list[list[int]], k1: float, b: float
) -> None:
    weights = bm25_weights(count_terms(documents, NUM_TERMS), k1, b)
    scores = multiply(count_terms(queries, NUM_TERMS), weights)
    expected = [plain_bm25(documents, query, k1, b) for query in queries]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


def test_scores_equal_those_of_bm25s() -> None:
    rng = random.Random(3)
    documents = [[rng.randrange(50) for _ in range(rng.randint(5, 80))] for _ in range(40)]
    query = [1, 7, 7, 33]
    retriever = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    retriever.index((documents, {f"t{term}": term for term in range(50)}), show_progress=False)
    ours = multiply(count_terms([query], 50), bm25_weights(count_terms(documents, 50), k1=1.2, b=0.75))[0]
    np.testing.assert_allclose(ours, retriever.get_scores_from_ids(query), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("documents", [[[]], [[], []]])
def test_empty_documents_score_zero(documents: list[list[int]]) -> None:
    scores = multiply(count_terms([[0, 1]], 3), bm25_weights(count_terms(documents, 3), k1=1.2, b=0.75))
    assert scores.tolist() == [[0.0] * len(documents)]


def test_a_rare_term_weighs_more_than_a_common_one() -> None:
    common, rare, other = 0, 1, 2
    documents = count_terms([[common, other], [common, rare], [common, other], [rare, other]], 3)
    scores = multiply(count_terms([[common], [rare]], 3), bm25_weights(documents, k1=1.2, b=0.75))
    assert scores[1, 1] > scores[0, 1] > 0

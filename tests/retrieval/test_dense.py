import math
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.io.paths import ROOT
from memsifter.retrieval.dense import (
    cosines,
    dot_products,
    multi_vector_scores,
    session_cosines,
    term_weight_scores,
)
from memsifter.retrieval.embeddings import EmbeddedUnits, Embeddings, TokenVectors

SIZES = (3, 1, 2, 4)  # units of the sessions
OFFSETS = np.cumsum([0, *SIZES])
SESSIONS = np.asarray([3, 0, 3])


def unit_vectors(rng: np.random.Generator, rows: int, dimensions: int) -> np.ndarray:
    vectors = rng.normal(size=(rows, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def make_embeddings(count: int, seed: int) -> Embeddings:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, size=count)
    tokens = TokenVectors(unit_vectors(rng, int(lengths.sum()), 8), np.append(0, np.cumsum(lengths)))
    return Embeddings(unit_vectors(rng, count, 8), sp.random(count, 20, 0.4, "csr", np.float32, rng), tokens)


@pytest.fixture(scope="module")
def questions() -> Embeddings:
    return make_embeddings(2, 1)


@pytest.fixture(scope="module")
def units() -> EmbeddedUnits:
    return EmbeddedUnits(make_embeddings(sum(SIZES), 2), OFFSETS)


def units_of(session: int) -> range:
    return range(OFFSETS[session], OFFSETS[session + 1])


def test_cosines_are_those_of_every_unit(questions: Embeddings, units: EmbeddedUnits) -> None:
    scores, starts = cosines(questions, units, SESSIONS)
    assert starts.tolist() == [0, 4, 7]
    parts = [part for session in SESSIONS for part in units_of(session)]
    expected = [[q @ units.embeddings.dense[part] for part in parts] for q in questions.dense]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    left=st.integers(1, 70),
    right=st.integers(1, 300),
    dimensions=st.sampled_from([3, 16, 100, 384]),
    seed=st.integers(0, 9),
)
def test_a_dot_product_has_the_same_bits_whatever_stands_beside_it(
    left: int, right: int, dimensions: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, others = (unit_vectors(rng, count, dimensions) for count in (left, right))
    together = dot_products(rows, others)
    row, other = rng.integers(left), rng.integers(right)
    assert dot_products(rows[[row]], others[[other]])[0, 0] == together[row, other]
    np.testing.assert_array_equal(dot_products(others[::-1], rows)[::-1].T, together)
    exact = math.fsum(rows[row].astype(np.float64) * others[other])
    assert together[row, other] == pytest.approx(exact, rel=0, abs=6e-8)


PRODUCTS = """
import hashlib
import numpy as np
from memsifter.retrieval.dense import dot_products

rows = np.random.default_rng(5).integers(-99, 99, size=(70, 384)).astype(np.float32)
rows /= np.sqrt((rows**2).sum(axis=1, keepdims=True))
print(hashlib.sha256(dot_products(rows[:7], rows).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_dot_products_have_the_same_bits_on_every_kind_of_cpu() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", PRODUCTS],
            env={**os.environ, "OPENBLAS_CORETYPE": kind, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for kind, threads in (("", "1"), ("", "2"), ("Haswell", "1"), ("Nehalem", "1"))
    }
    assert len(found) == 1


def test_a_session_is_the_mean_of_its_units(questions: Embeddings, units: EmbeddedUnits) -> None:
    means = [np.mean([units.embeddings.dense[part] for part in units_of(session)], axis=0) for session in SESSIONS]
    expected = [[q @ mean / np.linalg.norm(mean) for mean in means] for q in questions.dense]
    np.testing.assert_allclose(session_cosines(questions, units, SESSIONS), expected, rtol=1e-4)


def test_term_weights_of_the_best_unit(questions: Embeddings, units: EmbeddedUnits) -> None:
    products = questions.lexical.toarray() @ units.embeddings.lexical.toarray().T
    expected = [[max(row[part] for part in units_of(session)) for session in SESSIONS] for row in products]
    np.testing.assert_allclose(term_weight_scores(questions, units, SESSIONS), expected, rtol=1e-5)


def test_late_interaction_of_the_best_unit(questions: Embeddings, units: EmbeddedUnits) -> None:
    def tokens(embeddings: Embeddings, text: int) -> np.ndarray:
        return embeddings.tokens.rows(np.asarray([text])).vectors

    expected = [
        [
            max(
                float(np.mean([max(a @ b for b in tokens(units.embeddings, part)) for a in tokens(questions, q)]))
                for part in units_of(session)
            )
            for session in SESSIONS
        ]
        for q in range(2)
    ]
    np.testing.assert_allclose(multi_vector_scores(questions, units, SESSIONS), expected, rtol=1e-5)

import numpy as np

from memsifter.retrieval.lexical import count_phrases


def test_pairs_are_counted_within_a_text() -> None:
    texts, questions = count_phrases([[1, 2, 1, 2], [2, 3], [], [5]], [[1, 2], [3, 2], [2, 3, 9], []])
    # Columns: 1 2, 2 3, 3 2, 3 9, those of the questions. No pair joins two texts.
    assert texts.toarray().tolist() == [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert questions.toarray().tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]]


def test_order_matters_and_large_numbers_do_not_collide() -> None:
    big = 2**31 - 1
    texts, questions = count_phrases([[0, big], [1, big], [big, 0]], [[0, big], [big, 1]])
    assert texts.shape == (3, 2)
    assert np.asarray((questions @ texts.T).toarray()).tolist() == [[1, 0, 0], [0, 0, 0]]


def test_questions_without_pairs_have_no_columns() -> None:
    texts, questions = count_phrases([[1, 2], []], [[1]])
    assert texts.shape == (2, 0)
    assert questions.shape == (1, 0)

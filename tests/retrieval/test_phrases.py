import numpy as np

from memsifter.corpus.sessions import Turn
from memsifter.params import Bm25Params
from memsifter.retrieval.lexical import LexicalIndex, count_phrases


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


def test_spelling_does_not_matter() -> None:
    sessions = [[Turn("user", "the cafe\u0301 noir")], [Turn("user", "the noir caf\u00e9")]]
    questions = ["Caf\u00e9 Noir?", "CAFE\u0301 NOIR", "\uff43\uff41\uff46\u00e9 noir"]
    index = LexicalIndex(sessions, questions, Bm25Params(k1=1.2, b=0.75, window_turns=4))
    scores = index.phrase_scores(np.arange(3), np.arange(2))
    assert scores[0, 0] > scores[0, 1] == 0
    assert (scores == scores[0]).all()

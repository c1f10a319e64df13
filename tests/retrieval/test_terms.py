import numpy as np

from memsifter.retrieval.bm25 import Vocabulary, count_terms


def test_inflected_words_share_a_term_and_stop_words_are_left_out() -> None:
    counts = Vocabulary().count(["the camper camped while camping", "camps"]).toarray()
    camped = np.flatnonzero(counts[1])
    assert counts[1, camped].tolist() == [1]
    assert counts[0, camped].tolist() == [2]
    assert counts[0].sum() == 3  # "the" and "while" are stop words


def test_terms_keep_their_column_when_the_vocabulary_grows() -> None:
    vocabulary = Vocabulary()
    first = vocabulary.count(["violin piano"])
    second = vocabulary.count(["piano trumpet"])
    assert first.shape == (1, 2)
    assert second.toarray().tolist() == [[0, 1, 1]]


def test_texts_without_terms_are_empty_rows() -> None:
    counts = Vocabulary().count(["", "the", "?!", "piano"])
    assert counts.toarray().tolist() == [[0], [0], [0], [1]]


def test_repeated_ids_are_summed() -> None:
    assert count_terms([[2, 0, 2], []], 3).toarray().tolist() == [[1, 0, 2], [0, 0, 0]]

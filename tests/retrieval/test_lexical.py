from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.corpus.sessions import Turn, render_turns
from memsifter.params import Bm25Params
from memsifter.retrieval.bm25 import Vocabulary, bm25_weights, multiply
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.score_lists import max_per_group
from memsifter.retrieval.units import window_turns

PARAMS = Bm25Params(k1=1.2, b=0.75, window_turns=2)
SESSIONS = [
    [Turn("user", "I adopted a puppy"), Turn("assistant", "What breed?"), Turn("user", "A beagle called Max")],
    [Turn("user", "My flight to Oslo was late")],
    [Turn("Ada", "Oslo is cold"), Turn("Bo", "Bring a coat"), Turn("Ada", "The beagle needs one too")],
    [Turn("user", "ok")],
]
QUESTIONS = ["Which beagle is cold?", "late flight to Oslo", "unheard words", ""]


def at(*positions: int) -> np.ndarray:
    return np.asarray(positions, dtype=np.int64)


@settings(max_examples=200, deadline=None)
@given(num_turns=st.integers(1, 40), size=st.integers(1, 12))
def test_windows_cover_every_turn_and_overlap_by_half(num_turns: int, size: int) -> None:
    windows = window_turns(num_turns, size).tolist()
    covered = {turn for first, last in windows for turn in range(first, last)}
    assert covered == set(range(num_turns))
    assert all(last - first <= size for first, last in windows)
    assert all(second[0] - first[0] == max(1, size // 2) for first, second in pairwise(windows))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_window_scores_are_bm25_over_the_windows_of_all_sessions(size: int) -> None:
    vocabulary = Vocabulary()
    windows = [
        (owner, render_turns(turns[first:last]))
        for owner, turns in enumerate(SESSIONS)
        for first, last in window_turns(len(turns), size)
    ]
    documents = vocabulary.count(text for _, text in windows)
    queries = vocabulary.count(QUESTIONS)
    documents.resize((documents.shape[0], queries.shape[1]))
    each = multiply(queries, bm25_weights(documents, 1.2, 0.75))
    expected = [
        [max(score for score, (owner, _) in zip(row, windows, strict=True) if owner == session) for session in (2, 0)]
        for row in each
    ]
    found = max_per_group(*LexicalIndex(SESSIONS, QUESTIONS, PARAMS).window_scores(at(0, 1, 2, 3), at(2, 0), size))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_session_scores_the_same_in_every_haystack_and_beside_every_question() -> None:
    index = LexicalIndex(SESSIONS, QUESTIONS, PARAMS)
    for scores in (index.session_scores, index.phrase_scores, index.speaker_scores):
        alone, together = scores(at(0), at(0)), scores(at(1, 0, 3), at(3, 0, 1, 2, 0))
        assert alone[0, 0] == together[1, 1] == together[1, 4]


def test_questions_without_a_known_term_score_zero() -> None:
    index = LexicalIndex(SESSIONS, QUESTIONS, PARAMS)
    assert not index.session_scores(at(2, 3), at(0, 1, 2, 3)).any()
    assert not index.phrase_scores(at(2, 3), at(0, 1, 2, 3)).any()


def test_phrases_tell_the_same_words_in_another_order_apart() -> None:
    sessions = [[Turn("user", "the dog bit the man")], [Turn("user", "the man bit the dog")]]
    index = LexicalIndex(sessions, ["Did the man bite a dog?", "Who has bit the dog"], PARAMS)
    phrases = index.phrase_scores(at(1), at(0, 1))[0]
    assert phrases[1] > phrases[0] == 0
    assert np.ptp(index.session_scores(at(1), at(0, 1))) == 0


def test_what_the_named_speaker_said_counts_alone() -> None:
    sessions = [
        [Turn("Ada", "my violin broke"), Turn("Bo", "how sad")],
        [Turn("Bo", "my violin broke"), Turn("Ada", "how sad")],
    ]
    index = LexicalIndex(sessions, ["Whose violin is it, Ada's?", "When did Bo break the violin?", "A violin?"], PARAMS)
    scores = index.speaker_scores(at(0, 1, 2), at(0, 1))
    assert scores[0, 0] > scores[0, 1]
    assert scores[1, 0] < scores[1, 1]
    assert scores[2, 0] == scores[2, 1] > 0, "nobody is named: all count"


def test_chinese_is_scored_by_its_words() -> None:
    sessions = [[Turn("user", "我喜欢北京的烤鸭")], [Turn("user", "我昨天买了一本书")]]
    scores = LexicalIndex(sessions, ["北京有什么好吃的?"], PARAMS).session_scores(at(0), at(0, 1))
    assert scores[0, 0] > scores[0, 1]


def test_terms_are_counted() -> None:
    assert LexicalIndex(SESSIONS, [], PARAMS).term_counts(at(3, 1)).tolist() == [2, 4]

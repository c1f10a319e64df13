import numpy as np
import pytest

from memsifter.corpus.sessions import Turn
from memsifter.params import Bm25Params
from memsifter.retrieval.lexical import LexicalIndex, named_speakers

SPEAKERS = ["Ann", "Anna", "user", "assistant", "小明"]


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("What did Anna say?", ["Anna"]),
        ("Ann's and Anna's cats?", ["Ann", "Anna"]),
        ("Annabel or ann?", []),
        ("What did I buy?", ["user"]),
        ("Where did my dog go?", ["user"]),
        ("Which book did the assistant recommend to me?", ["user", "assistant"]),
        ("小明喜欢什么?", ["小明"]),
        ("我昨天做了什么?", ["user"]),
        ("", []),
    ],
)
def test_names_are_whole_words_and_the_first_person_is_the_user(question: str, named: list[str]) -> None:
    (row,) = named_speakers([question], SPEAKERS)
    assert [speaker for speaker, found in zip(SPEAKERS, row, strict=True) if found] == named


@pytest.mark.parametrize(
    ("question", "speaker"),
    [
        ("What did Jose\u0301 say?", "Jos\u00e9"),
        ("What did Jos\u00e9 say?", "Jose\u0301"),
        ("What did \uff21\uff4e\uff4e say?", "Ann"),
        ("What did Mary\u00a0 Ann say?", "Mary Ann"),
        ("WHAT DID JOS\u00c9 SAY?", "Jos\u00e9"),
        ("Assistant: what was it?", "assistant"),
        ("WHAT DID MY DOG DO?", "user"),
        ("what did i buy?", "user"),
        ("小明は何を", "小明"),
        ("민수는 무엇을", "민수"),
    ],
)
def test_names_are_found_in_every_spelling(question: str, speaker: str) -> None:
    assert named_speakers([question], [speaker]).tolist() == [[True]]


@pytest.mark.parametrize(
    ("question", "speaker"),
    [
        ("What did Jos\u00e9 say?", "Jos"),
        ("What did Jos\u00e9 say?", "Jose"),
        ("What did Zo\u00eb\u00e9 say?", "Zo\u00eb"),
        ("What did Бориса say?", "Борис"),
        ("who may come, and who will?", "May"),
        ("who may come, and who will?", "Will"),
        ("i.e. who?", "user"),
        ("Who?", "\u200b"),
    ],
)
def test_parts_of_words_and_small_letters_are_no_names(question: str, speaker: str) -> None:
    assert named_speakers([question], [speaker]).tolist() == [[False]]


def test_whom_a_question_names_is_one_of_the_haystack_s_speakers() -> None:
    sessions = [[Turn("Ann", "my cat")], [Turn("Bob", "a dog")]]
    lexical = LexicalIndex(sessions, ["Does Bob have a cat?"], Bm25Params())
    question = np.asarray([0])
    alone, beside_bob = (lexical.speaker_scores(question, np.asarray(places))[0, 0] for places in ([0], [0, 1]))
    assert alone > beside_bob == 0, "where no Bob speaks, whoever speaks is asked"

import pytest

from memsifter.retrieval.lexical import named_speakers

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

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.corpus.words import fold_text, split_words

quick = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("On May 8, Caroline's cat weighed 7kg!", "on may 8 caroline s cat weighed 7kg"),
        ("snake_case well-known 3.5 10:30", "snake_case well known 3 5 10 30"),
        ("हिन्दी में लिखा है", "हिन्दी में लिखा है"),
        ("தமிழ் மொழி", "தமிழ் மொழி"),
        ("서울 사람들", "서울 사람들"),
        ("2½ cups, 10² m, Lego\u2122 bricks", "2 1 2 cups 10 2 m lego bricks"),
        ("❤\ufe0f 1\ufe0f\u20e3 👍🏽", "1"),
        ("co\u00adoperate", "cooperate"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert list(split_words(text)) == words.split()


def test_han_text_is_segmented() -> None:
    assert list(split_words("我喜欢北京 iPhone手机2023年")) == [*("我", "喜欢", "北京", "iphone", "手机", "2023", "年")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zoe\u0308 at the cafe\u0301", "Zo\u00eb at the caf\u00e9"),
        ("\uff26\uff55\uff4c\uff4c \uff11\uff12", "Full 12"),
        ("\uff76\uff80\uff76\uff85", "カタカナ"),
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "Σίσυφος"),
        ("KİŞİSEL", "kişisel"),
        ("\ufb01ne", "fine"),
    ],
)
def test_one_word_in_two_spellings_is_one_word(one: str, other: str) -> None:
    assert list(split_words(one)) == list(split_words(other))


@quick
@given(st.text())
def test_the_form_of_unicode_does_not_matter(text: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert list(split_words(composed)) == list(split_words(decomposed))


@quick
@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold_text(fold_text(text)) == fold_text(text)


@quick
@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N"])))
def test_no_letter_or_digit_is_lost(text: str) -> None:
    kept = "".join(split_words(text))
    assert _letters(kept) == _letters(fold_text(text))


def _letters(text: str) -> list[str]:
    return [character for character in text if unicodedata.category(character)[0] in "LN"]

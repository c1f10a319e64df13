import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.corpus.words import fold_text
from memsifter.metrics.text import has_cjk, normalize, tokenize

quick = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat, an Owl & a dog!", "cat owl dog"),
        ("well-known and/or snake_case", "well known and or snake case"),
        ("don't quote 'Alice\u2019s' dogs'", "dont quote alices dogs"),
        ("U.S. and U.S.A at 10:30 p.m.", "us and usa at 10:30 pm"),
        ("J.K. Rowling, e.g.", "jk rowling eg"),
        ("\uff26\uff55\uff4c\uff4c \ufb01ne CAFE\u0301", "full fine caf\u00e9"),
        ("हिन्दी में", "हिन्दी में"),
        ("co\u00adoperate", "cooperate"),
        ("Straße STRASSE", "strasse strasse"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert normalize(text) == words
    assert tokenize(text) == words.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("42", "42"),
        ("It is 3.5.", "it is 3.5"),
        ("$1,200 or $1,200.50", "1200 or 1200.50"),
        ("1,000,000", "1000000"),
        ("1,2,3 and 2021,2022 and 1,2345", "1 2 3 and 2021 2022 and 1 2345"),
        ("10:30", "10:30"),
        ("v1.2.3", "v1.2.3"),
        ("5%", "5"),
        ("-5 \u22125 5-10", "-5 -5 5 10"),
        ("-$5", "-5"),
        (".5", "0.5"),
        ("May 7, 2023", "may 7 2023"),
        ("2023/05/20", "2023 05 20"),
        ("2½", "2 1 2"),
        ("10²", "10 2"),
        ("\uff11\uff12", "12"),
    ],
)
def test_numbers(text: str, words: str) -> None:
    assert normalize(text) == words


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("我爱北京大学。", ["我", "爱", "北京大学"]),
        ("我3月5日去了北京大学", ["我", "3", "月", "5", "日", "去", "了", "北京大学"]),
        ("苹果\uff0ciPhone 手机", ["苹果", "iphone", "手机"]),
        ("サウナ", ["サ", "ウ", "ナ"]),
        ("서울 2024", ["서", "울", "2024"]),
        ("A型 the 血", ["a", "型", "血"]),
    ],
)
def test_cjk_text_is_segmented(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_spaces_and_punctuation_between_cjk_characters_do_not_count() -> None:
    assert normalize("3 月 5 日\uff0c北京") == normalize("3月5日北京")


def test_has_cjk() -> None:
    assert has_cjk("in 北京")
    assert has_cjk("カタカナ")
    assert has_cjk("서울")
    assert not has_cjk("naïve Москва عربى 42")


@pytest.mark.parametrize(("one", "other"), [("A", "The"), ("+", "-"), ("👍", "👎"), ("...", "?")])
def test_texts_of_only_articles_or_symbols_stay_different(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)
    assert tokenize(one) != tokenize(other)


@quick
@given(st.text())
def test_tokens_spell_the_normalised_text(text: str) -> None:
    assert "".join(tokenize(text)) == normalize(text).replace(" ", "")


@quick
@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N"]), min_size=1))
def test_letters_and_digits_are_never_lost(text: str) -> None:
    expected = [character for character in fold_text(text) if unicodedata.category(character)[0] in "LMN"]
    assert sorted("".join(tokenize(text))) == sorted(expected)


@quick
@given(st.lists(st.sampled_from(["cat", "Owl", "42", "3.5", "the", "北京", "an"]), min_size=1))
def test_extra_spaces_do_not_matter(words: list[str]) -> None:
    assert tokenize("  \t" + "\n ".join(words)) == tokenize(" ".join(words))


def test_segmentation_writes_nothing_to_the_terminal() -> None:
    code = "from memsifter.metrics.text import tokenize; tokenize('我爱北京大学')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""

"""What counts as a word when answers are compared.

- Spelling is that of `memsifter.corpus.words`: NFKC and case folding. "the", "a" and "an" do not count; neither do
  punctuation and symbols.
- Words are split at spaces, hyphens, slashes and most punctuation ("well-known" is two words). An apostrophe inside a
  word ("don't" is "dont") and the dots of an abbreviation ("U.S." is "us", "p.m." is "pm") are dropped without a split.
- Numbers count, as written: "3.5", "10:30" and "1.2.3" are one word each, "-5" is not "5", "3.50" is not "3.5". Only
  ".5" becomes "0.5", commas that group thousands go, and currency and percent signs do not count ("$1,200" is "1200",
  "5%" is "5"). A date such as "2023/05/20" is three words.
- Han text is segmented by jieba's dictionary. Kana and Hangul count one character each. Spaces beside such characters
  carry no meaning and do not count.
- A text of nothing but articles, or nothing but symbols, keeps them: two different answers must not match because
  nothing is left of either.

The steps follow SQuAD's answer normalisation (Rajpurkar et al. 2016), extended to numbers and to CJK text.
"""

import re
import unicodedata

from memsifter.corpus.words import fold_text, segment_han

_ARTICLES = frozenset({"a", "an", "the"})

# Han, kana, bopomofo, Hangul.
_CJK = (
    "\u1100-\u11ff\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_CJK_RUN = re.compile(f"[{_CJK}]+")
_CJK_OR_OTHER_RUN = re.compile(f"[{_CJK}]+|[^{_CJK}]+")
_SPACE_BESIDE_CJK = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")

_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)")
_ABBREVIATION = re.compile(r"(?<!\w)[^\W\d_](?:\.[^\W\d_])+(?!\w)")
_GROUPED_NUMBER = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,]*\d)")
_CURRENCY_BEFORE_NUMBER = re.compile(r"(?<!\w)[$£€¥₩₹](?=\.?\d)")
_LEADING_DOT = re.compile(r"(?<![\w.)])\.(?=\d)")
_INSIDE_NUMBER = re.compile(r"(?<=\d)[.:](?=\d)|(?<![\w)])-(?=\d)")


def normalize(text: str) -> str:
    """The text as it is compared for an exact match: words joined by one space, CJK text without spaces."""
    return _SPACE_BESIDE_CJK.sub("", " ".join(_words(text)))


def tokenize(text: str) -> list[str]:
    """The words of `text` in order, CJK text segmented; none only where no visible character but ™ and ℠ is."""
    return [token for word in _words(text) for token in (segment_han(word) if has_cjk(word) else [word])]


def has_cjk(text: str) -> bool:
    """Whether the text holds Chinese, Japanese or Korean characters, whose words spaces do not separate."""
    return _CJK_RUN.search(text) is not None


def _words(text: str) -> list[str]:
    """Words, where a run of CJK characters is one word."""
    folded = _fold(text)
    inside_number = {match.start() for match in _INSIDE_NUMBER.finditer(folded)}
    spaced = "".join(
        character if position in inside_number or unicodedata.category(character)[0] in "LMN" else " "
        for position, character in enumerate(folded)
    )
    words = spaced.split() or folded.split()
    kept = [word for word in words if word not in _ARTICLES] or words
    return [run for word in kept for run in _CJK_OR_OTHER_RUN.findall(word)]


def _fold(text: str) -> str:
    """One spelling of everything that is written in several ways, still with its punctuation."""
    folded = _APOSTROPHE.sub("", fold_text(text).replace("\u2212", "-"))
    folded = _ABBREVIATION.sub(lambda match: match[0].replace(".", ""), folded)
    folded = _LEADING_DOT.sub("0.", _CURRENCY_BEFORE_NUMBER.sub("", folded))
    return _GROUPED_NUMBER.sub(lambda match: match[0].replace(",", ""), folded)

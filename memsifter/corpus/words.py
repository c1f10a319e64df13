r"""What counts as a word, for retrieval and for metrics alike: one spelling of everything, and where words end.

Text is NFKC-normalised and case-folded, so that composed and decomposed accents, full-width and plain letters are the
same. A word is a run of letters, digits, underscores and the combining marks on them (Hindi's vowels are such marks);
everything else separates words. Han text, which spaces do not separate, is segmented by jieba's dictionary.
"""

import logging
import unicodedata
from collections.abc import Iterator
from functools import cache

import jieba
import regex

from memsifter.io.paths import cache_directory

jieba.setLogLevel(logging.CRITICAL)  # it logs to stderr whenever it loads its dictionary

# \w as Python defines it. Marks count only on a letter or a digit: a variation selector beside an emoji is no word.
_WORD = regex.compile(
    r"(?P<han>\p{Han}+)|[[\p{L}\p{N}_]--\p{Han}][[\p{L}\p{N}_\p{Mn}\p{Mc}]--\p{Han}]*", flags=regex.VERSION1
)
# NFKC writes them as plain characters, which would turn 2½ into 21/2, 10² into 102 and Lego™ into legotm. A space takes
# the place of trade-mark signs, and stands before small digits.
_SMALL_CHARACTER = regex.compile("(?<=[0-9])(?=[²³¹¼½¾⁰-₉⅐-⅞])|[™℠]")
# Soft hyphens, zero-width characters, direction marks, variation selectors.
_INVISIBLE = regex.compile("[\u00ad\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]")


def compose_text(text: str) -> str:
    """One spelling of everything that is written in several ways, with its case and punctuation: NFKC."""
    visible: str = _INVISIBLE.sub("", _SMALL_CHARACTER.sub(" ", text))
    return unicodedata.normalize("NFKC", visible)


def fold_text(text: str) -> str:
    """`compose_text` and case folding.

    Folding may leave a decomposed character and normalising one that can be folded, so both are done twice (Unicode
    Standard 3.13, D146 and D147).
    """
    if text.isascii():
        return text.lower()
    folded = compose_text(text)
    for _ in range(2):
        folded = unicodedata.normalize("NFKC", folded.casefold())
    # Folding Turkish's capital İ leaves a dot on an i that has one.
    return folded.replace("i\u0307", "i")


def split_words(text: str) -> Iterator[str]:
    """The folded words and numbers of a text, in order; a run of Han characters as the words of jieba's dictionary."""
    for match in _WORD.finditer(fold_text(text)):
        if match["han"]:
            yield from segment_han(match["han"])
        else:
            yield match[0]


def segment_han(text: str) -> list[str]:
    """Segment a run of Han characters by jieba's dictionary.

    Without jieba's guesses at unknown words, which depend on the neighbours: a name that the dictionary lacks falls
    apart into the same characters wherever it stands.
    """
    segments: list[str] = _segmenter().lcut(text, HMM=False)
    return segments


@cache
def _segmenter() -> jieba.Tokenizer:
    segmenter = jieba.Tokenizer()
    # By default jieba trusts any file named jieba.cache in the temporary directory, which other users can write.
    segmenter.tmp_dir = str(cache_directory("jieba"))
    segmenter.cache_file = f"{jieba.__version__}.cache"
    return segmenter

"""Words of Chinese text, which spaces do not separate."""

import logging
from functools import cache

import jieba

from memsifter.io.paths import cache_directory

jieba.setLogLevel(logging.CRITICAL)  # it logs to stderr whenever it loads its dictionary


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

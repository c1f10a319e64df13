"""Scores of an answer against the reference answer, and whether an answer says that it does not know; in [0, 1].

What counts as a word is defined in `memsifter.metrics.text`. Two empty texts score 1.0, one empty text scores 0.0; a
question without a reference answer is for the caller to leave out, as `answer_metrics` does.
"""

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import Any

from sacrebleu.metrics import BLEU

from memsifter.corpus.words import fold_text
from memsifter.metrics.text import has_cjk, normalize, tokenize

ANSWER_METRICS = ("exact_match", "token_f1", "bleu", "rouge_l", "abstention")
# What the readers call questions that their haystack does not answer: LongMemEval's `_abs`, and LoCoMo's category 5,
# two of whose 446 questions have an answer all the same (a "no").
_ABSTENTION, _ADVERSARIAL = "abstention", "adversarial"


_BLEU = BLEU(lowercase=True, effective_order=True)
_BLEU_OF_TOKENS = BLEU(tokenize="none", effective_order=True)

# Ways to say that something is not known, in folded text.
_TOLD = "mentioned|specified|stated|provided|discussed|given|known|recorded|available|described|said|clear|answerable"
_NOT_KNOWN = re.compile(
    rf"""
      \b i \s (?: \w+ \s )? (?: do(?:n't|\snot) | can(?:'t|not|\snot) | could(?:n't|\snot) ) \s (?: \w+ly \s )?
          (?: know | say | tell | find | answer | determine | recall | remember | see | confirm )
    | \b i (?: \s am | 'm ) \s (?: not \s (?: sure | certain | aware | able ) | unsure | uncertain | unaware | unable )
    | (?: \b not | \b never | \b nowhere | n't ) \s (?: been \s )? (?: \w+ly \s )? (?: {_TOLD} )
    | \b (?: do | does | did ) (?: n't | \s not ) \s (?: \w+ly \s )?
          (?: mention | say | specify | state | provide | contain | include | discuss | indicate )
    | \b (?: can(?:'t|not|\snot) | could(?:n't|\snot) ) \s be \s (?: determined | answered | found | inferred )
    | \b no \s (?: \w+ \s )? (?: information | mention | record | evidence | details? | indication | idea | answer ) \b
    | \b (?: not \s enough | insufficient ) \s (?: information | context | evidence | details? )
    | \b (?: information | context ) \s (?: \w+ \s )? is \s (?: not \s (?: enough | sufficient ) | insufficient )
    | \b (?: unknown | unanswerable | undetermined | unclear ) \b
    | ^ \W* (?: n/a | not \s applicable ) \W* $
    | 不知道 | 不清楚 | 不确定 | 未提及 | 未提到 | 没有提及 | 没有提到 | 没提到 | 无法确定 | 无法回答 | 没有相关信息
    """,
    re.VERBOSE,
)


def exact_match(prediction: str, answer: str) -> float:
    """1.0 when both texts are the same after normalisation (SQuAD, Rajpurkar et al. 2016)."""
    return float(normalize(prediction) == normalize(answer))


def token_f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the words, counted with repetition (SQuAD, Rajpurkar et al. 2016)."""
    predicted, expected = tokenize(prediction), tokenize(answer)
    if not predicted or not expected:
        return float(predicted == expected)
    shared = (Counter(predicted) & Counter(expected)).total()
    return 2 * shared / (len(predicted) + len(expected))


def bleu(prediction: str, answer: str) -> float:
    """Sentence BLEU of sacrebleu: up to 4-grams, as many as the prediction has, exponential smoothing, lower case.

    Words of the NFKC-normalised texts are sacrebleu's own (13a: punctuation and articles count), so that values compare
    with published ones. When either text has CJK characters, both are split by `memsifter.metrics.text.tokenize`.
    """
    predicted, expected = tokenize(prediction), tokenize(answer)
    if not predicted or not expected:
        return float(predicted == expected)
    prediction, answer = (unicodedata.normalize("NFKC", text) for text in (prediction, answer))
    if has_cjk(prediction + answer):
        percent = _BLEU_OF_TOKENS.sentence_score(" ".join(predicted), [" ".join(expected)]).score
    else:
        percent = _BLEU.sentence_score(prediction, [answer]).score
    return min(1.0, float(percent) / 100)  # rounding takes a perfect score slightly above 100


def rouge_l(prediction: str, answer: str) -> float:
    """ROUGE-L F-measure: longest common subsequence of words (Lin 2004)."""
    predicted, expected = tokenize(prediction), tokenize(answer)
    if not predicted or not expected:
        return float(predicted == expected)
    return float(_rouge().score(answer, prediction)["rougeL"].fmeasure)


class _AnswerTokenizer:
    """`tokenize` as the object that rouge-score wants; its own tokenizer keeps only a-z and 0-9."""

    def tokenize(self, text: str) -> list[str]:
        return tokenize(text)


@cache
def _rouge() -> Any:
    # Imported here: it takes seconds (NLTK, SciPy, pandas), and rewards by F1 have no use for it.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_AnswerTokenizer())


def abstention(prediction: str) -> float:
    """1.0 when the answer says that it does not know, or that its sources do not say; 0.0 for any other, or none.

    A rule over phrases, wider than LoCoMo's own ("no information available", "not mentioned"; Maharana et al. 2024). An
    answer that goes on to guess counts as well; an empty one says nothing and does not.
    """
    return float(_NOT_KNOWN.search(fold_text(prediction).replace("\u2019", "'")) is not None)


def answer_metrics(prediction: str, answer: str, category: str = "") -> dict[str, float | None]:
    """Every score of one answer, by the names of `ANSWER_METRICS`; None where a metric is not defined.

    A question that cannot be answered has no other right answer than to say so: it has `abstention` only. All others
    have the overlaps with their reference, unless there is none, and no `abstention`.

    Args:
        prediction: what was answered.
        answer: the reference, "" where the source gives none.
        category: of the question, as the reader names it.
    """
    scores: dict[str, float | None] = dict.fromkeys(ANSWER_METRICS)
    referenced = bool(tokenize(answer))
    if category == _ABSTENTION or (category == _ADVERSARIAL and not referenced):
        scores["abstention"] = abstention(prediction)
    elif referenced:
        scores |= {metric.__name__: metric(prediction, answer) for metric in (exact_match, token_f1, bleu, rouge_l)}
    return scores

import functools
import random
import subprocess
import sys
from collections.abc import Callable

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from memsifter.metrics.answers import ANSWER_METRICS, abstention, answer_metrics, bleu, exact_match, rouge_l, token_f1
from memsifter.metrics.text import tokenize

METRICS = (exact_match, token_f1, bleu, rouge_l)
quick = settings(max_examples=150, deadline=None)

WORDS = ["cat", "dog", "owl", "moved", "to", "paris", "in", "may", "7", "42", "2023"]
plain_words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12)
plain_texts = plain_words.map(" ".join)
any_texts = st.one_of(st.text(max_size=30), plain_texts, st.text(alphabet="我爱北京大学, 42", max_size=12))


def overlap_f1(predicted: list[str], expected: list[str]) -> float:
    """Bag overlap by crossing words off a list."""
    left = list(expected)
    shared = 0
    for word in predicted:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def lcs_f1(predicted: tuple[str, ...], expected: tuple[str, ...]) -> float:
    """ROUGE-L from the recursive definition of the longest common subsequence."""

    @functools.cache
    def length(i: int, j: int) -> int:
        if i == len(predicted) or j == len(expected):
            return 0
        if predicted[i] == expected[j]:
            return 1 + length(i + 1, j + 1)
        return max(length(i + 1, j), length(i, j + 1))

    return 2 * length(0, 0) / (len(predicted) + len(expected))


def test_values_worked_out_by_hand() -> None:
    assert token_f1("He moved to Paris", "moved to the Paris") == pytest.approx(2 * 3 / (4 + 3))
    assert rouge_l("Paris to moved", "moved to Paris") == pytest.approx(1 / 3)
    assert exact_match("The Paris!", "paris") == 1.0
    assert exact_match("Paris, France", "paris") == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_digits_count(metric: Callable[[str, str], float]) -> None:
    assert metric("42", "7") == 0.0
    assert metric("42", "42") == pytest.approx(1.0)
    assert metric("3.5", "35") == 0.0


def test_one_amount_or_time_in_two_spellings_matches() -> None:
    assert token_f1("$1,200", "1200 dollars") == pytest.approx(2 / 3)
    assert exact_match("10:30 p.m.", "10:30 PM") == 1.0
    assert exact_match("the U.S.", "US") == 1.0


def test_cjk_answers() -> None:
    assert exact_match("我 爱 北京大学。", "我爱北京大学") == 1.0
    assert token_f1("他去了北京大学", "北京大学") == pytest.approx(2 * 1 / (4 + 1))
    assert rouge_l("他去了北京大学", "北京大学") == pytest.approx(0.4)
    assert 0 < bleu("他去了北京大学", "北京大学") < 1
    assert token_f1("5月", "7月") == 0.5
    assert token_f1("苹果", "香蕉") == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_empty_texts(metric: Callable[[str, str], float]) -> None:
    assert metric("", " ") == 1.0
    assert metric("", "Paris") == 0.0
    assert metric("Paris", "") == 0.0


@quick
@given(plain_texts, plain_texts)
def test_f1_agrees_with_crossing_off(prediction: str, answer: str) -> None:
    assert token_f1(prediction, answer) == pytest.approx(overlap_f1(prediction.split(), answer.split()))


@quick
@given(plain_texts, plain_texts)
def test_rouge_l_agrees_with_rouge_score_on_plain_words(prediction: str, answer: str) -> None:
    expected = RougeScorer(["rougeL"]).score(answer, prediction)["rougeL"].fmeasure
    assert rouge_l(prediction, answer) == pytest.approx(expected)


@quick
@given(any_texts, any_texts)
def test_rouge_l_agrees_with_the_recursive_definition(prediction: str, answer: str) -> None:
    predicted, expected = tuple(tokenize(prediction)), tuple(tokenize(answer))
    if predicted and expected:
        assert rouge_l(prediction, answer) == pytest.approx(lcs_f1(predicted, expected))


@quick
@given(plain_texts, plain_texts)
def test_bleu_agrees_with_the_corpus_score_of_one_sentence(prediction: str, answer: str) -> None:
    expected = sacrebleu.corpus_bleu([prediction], [[answer]], use_effective_order=True).score
    assert bleu(prediction, answer) == pytest.approx(expected / 100)


def test_bleu_keeps_punctuation_and_ignores_case() -> None:
    expected = sacrebleu.sentence_bleu("in paris, on 7 may.", ["in paris on 7 may."]).score
    assert bleu("In Paris, on 7 May.", "in paris on 7 may.") == pytest.approx(expected / 100)


def test_bleu_of_cjk_text_counts_our_words() -> None:
    expected = sacrebleu.corpus_bleu(
        ["他 10:30 去 了 北京大学"], [["他 10:30 去 北京大学"]], tokenize="none", use_effective_order=True
    )
    assert bleu("他10:30去了北京大学。", "他10:30去北京大学") == pytest.approx(expected.score / 100)


@quick
@given(any_texts, any_texts)
def test_values_lie_between_0_and_1(prediction: str, answer: str) -> None:
    assert all(0 <= metric(prediction, answer) <= 1 for metric in METRICS)


@quick
@given(any_texts)
def test_an_answer_matches_itself(text: str) -> None:
    assert [metric(text, text) for metric in METRICS] == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("one", "other"), [("caf\u00e9 no\u00ebl", "cafe\u0301 noe\u0308l"), ("\uff26ull", "Full")])
def test_one_text_in_two_spellings_matches(metric: Callable[[str, str], float], one: str, other: str) -> None:
    assert metric(one, other) == pytest.approx(1.0)


@quick
@given(any_texts, any_texts)
def test_f1_and_exact_match_are_symmetric(one: str, other: str) -> None:
    assert token_f1(one, other) == pytest.approx(token_f1(other, one))
    assert exact_match(one, other) == exact_match(other, one)


@quick
@given(plain_words, plain_texts, st.randoms(use_true_random=False))
def test_f1_ignores_word_order(words: list[str], answer: str, chance: random.Random) -> None:
    shuffled = chance.sample(words, len(words))
    assert token_f1(" ".join(shuffled), answer) == token_f1(" ".join(words), answer)


@quick
@given(any_texts, any_texts)
def test_rouge_l_never_exceeds_f1(prediction: str, answer: str) -> None:
    assert rouge_l(prediction, answer) <= token_f1(prediction, answer) + 1e-12


@pytest.mark.parametrize(
    "answer",
    [
        *("I do not know", "I don\u2019t know.", "I really don't know", "I'm not sure", "I can't find that", "n/a"),
        *("Not mentioned in the conversation", "No information available", "Unknown", "There's no mention of a kayak"),
        *("You did not mention this information.", "The information provided is not enough.", "It wasn't specified."),
        *("There is not enough information", "It cannot be determined from the context", "我不知道", "文中没有提到"),
    ],
)
def test_an_answer_that_says_it_does_not_know_abstains(answer: str) -> None:
    assert abstention(answer) == 1.0


@pytest.mark.parametrize("answer", ["", " ", "red", "No", "Ben doesn't like red", "Nothing", "a note", "the unknowns"])
def test_an_answer_that_says_something_or_nothing_does_not_abstain(answer: str) -> None:
    assert abstention(answer) == 0.0


OVERLAPS = ("exact_match", "token_f1", "bleu", "rouge_l")


def defined(prediction: str, answer: str, category: str) -> dict[str, float]:
    scores = answer_metrics(prediction, answer, category)
    assert tuple(scores) == ANSWER_METRICS
    return {name: value for name, value in scores.items() if value is not None}


def test_an_answerable_question_has_every_overlap() -> None:
    assert defined("Paris", "Paris", "single-hop") == pytest.approx(dict.fromkeys(OVERLAPS, 1.0))
    # Two of LoCoMo's adversarial questions do have an answer.
    assert defined("No", "No", "adversarial") == pytest.approx(dict.fromkeys(OVERLAPS, 1.0))


def test_without_a_reference_no_overlap_is_defined() -> None:
    assert defined("", "", "single-hop") == {}
    assert defined("Paris", " ", "single-hop") == {}


@pytest.mark.parametrize(("category", "answer"), [("adversarial", ""), ("abstention", "You did not mention this.")])
def test_a_question_that_cannot_be_answered_is_scored_by_abstention_alone(category: str, answer: str) -> None:
    assert defined("I do not know", answer, category) == {"abstention": 1.0}
    assert defined("red", answer, category) == {"abstention": 0.0}
    assert defined("", answer, category) == {"abstention": 0.0}


def test_scores_are_imported_without_pandas() -> None:
    """Every reward worker and the RL data import them; pandas takes seconds."""
    code = "import sys, memsifter.metrics.answers, memsifter.metrics.retrieval; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

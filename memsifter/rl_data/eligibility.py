"""Which questions can be trained on, and why the others cannot."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from memsifter.chat.context import ContextBuilder
from memsifter.corpus.sessions import SPLITS, Question, Split
from memsifter.corpus.store import Dataset
from memsifter.ranking.candidates import PromptBuilder

_ABSTENTION = "abstention"  # the category that readers give to questions that cannot be answered


class Drop(StrEnum):
    """Why a question is left out; checked in this order, and each question counts once."""

    ABSTENTION = "abstention"
    NO_ANSWER = "no_answer"
    NO_GOLD = "no_gold"
    TOO_MANY_GOLD = "too_many_gold"
    GOLD_TOO_LONG = "gold_too_long"
    NO_ROOM_TO_ANSWER = "no_room_to_answer"

    @property
    def meaning(self) -> str:
        """For reports: what holds of the question, and which parameter would change it."""
        return _MEANINGS[self]


_MEANINGS = {
    Drop.ABSTENTION: "the dataset marks it as one that cannot be answered",
    Drop.NO_ANSWER: "it has no reference answer",
    Drop.NO_GOLD: "no session is known to hold its evidence",
    Drop.TOO_MANY_GOLD: "more gold sessions than `rank.max_candidates`",
    Drop.GOLD_TOO_LONG: "its gold sessions do not fit `rank.context_tokens`",
    Drop.NO_ROOM_TO_ANSWER: "no session fits beside it in `chat.context_tokens`",
}


@dataclass(frozen=True, slots=True)
class EligibleQuestion:
    """A question that can be trained on.

    Attributes:
        question: the question.
        gold: haystack positions of its gold sessions, ascending.
        context_tokens: tokens that sessions may take in the working LLM's prompt.
    """

    question: Question
    gold: tuple[int, ...]
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The questions of a dataset, split by split: those that can be trained on by id, and how many others there are."""

    eligible: Mapping[Split, Mapping[str, EligibleQuestion]]
    dropped: Mapping[Split, Mapping[Drop, int]]


def check_questions(
    dataset: Dataset, prompts: PromptBuilder, contexts: ContextBuilder, max_candidates: int
) -> Eligibility:
    """Tell the questions that can be trained on from those that cannot.

    Args:
        dataset: the questions.
        prompts: fills the ranker's context.
        contexts: fills the working LLM's context.
        max_candidates: the most sessions that the ranker is shown.
    """
    dropped: dict[Split, Counter[Drop]] = {split: Counter() for split in SPLITS}
    eligible: dict[Split, dict[str, EligibleQuestion]] = {split: {} for split in SPLITS}
    for question in dataset.questions:
        gold = _gold_positions(question, dataset)
        index = dataset.haystack_of(question)
        if reason := _check_content(question):
            dropped[question.split][reason] += 1
        elif len(gold) > max_candidates:
            dropped[question.split][Drop.TOO_MANY_GOLD] += 1
        elif sum(session.tokens for session in prompts.sessions.count(question, index, gold)) > prompts.budget(
            question
        ):
            dropped[question.split][Drop.GOLD_TOO_LONG] += 1
        elif contexts.sessions.longest_heading(index) >= (context_tokens := contexts.budget(question)):
            dropped[question.split][Drop.NO_ROOM_TO_ANSWER] += 1
        else:
            eligible[question.split][question.question_id] = EligibleQuestion(question, gold, context_tokens)
    counts = {split: {reason: dropped[split][reason] for reason in Drop if dropped[split][reason]} for split in SPLITS}
    return Eligibility(eligible, counts)


def _check_content(question: Question) -> Drop | None:
    if question.category == _ABSTENTION:
        return Drop.ABSTENTION
    if not question.answer.strip():
        return Drop.NO_ANSWER
    return None if question.answer_session_ids else Drop.NO_GOLD


def _gold_positions(question: Question, dataset: Dataset) -> tuple[int, ...]:
    names = dataset.haystack_of(question).session_ids
    gold = set(question.answer_session_ids)
    return tuple(position for position, name in enumerate(names) if name in gold)

"""Sessions as the working LLM will read them while a ranking is paid: cut, and counted with their headings."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from memsifter.chat.context import context_budget, count_headings, fit_session
from memsifter.chat.prompt import ChatPrompt
from memsifter.corpus.sessions import SPLITS, Question, Split
from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.llm.tokens import CountedText, Tokenizer, cut_texts
from memsifter.params import ChatParams
from memsifter.ranking.builder import PromptBuilder


class WorkingSessions:
    """The sessions of one dataset in the working LLM's tokens; each distinct one of a call is cut and counted once."""

    def __init__(self, dataset: Dataset, prompt: ChatPrompt, tokenizer: Tokenizer, params: ChatParams) -> None:
        self._dataset = dataset
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._params = params
        self._texts: dict[str, CountedText] = {}
        self._headings: dict[str, int] = {}

    def budget(self, question: Question) -> int:
        """Tokens that sessions may take in the working LLM's prompt; 0 or less if the rest of it takes them all."""
        limit = self._params.context_tokens
        return context_budget(self._prompt, question.question, question.question_date, self._tokenizer, limit)

    def count_headings(self, indexes: Iterable[HaystackIndex]) -> None:
        """Count the headings of some haystacks, together; `longest_heading` and `fit` need them."""
        dates = dict.fromkeys(date for index in indexes for date in index.dates)
        self._headings |= count_headings(dates, self._prompt, self._tokenizer)

    def longest_heading(self, index: HaystackIndex) -> int:
        """Tokens of the longest heading in a haystack."""
        return max(self._headings[date] for date in index.dates)

    def count(self, sessions: Iterable[tuple[HaystackIndex, Iterable[int]]]) -> None:
        """Cut and count the sessions at some positions of their haystacks, together; `fit` needs them."""
        keys = dict.fromkeys(index.session_keys[position] for index, positions in sessions for position in positions)
        texts = {key: self._dataset.text(key) for key in keys}
        self._texts |= cut_texts(texts, self._tokenizer, self._params.session_tokens)

    def fit(self, index: HaystackIndex, position: int, budget: int) -> CountedText:
        """A session, cut so that it fits the budget of a question alone; its tokens include the heading."""
        heading = self._headings[index.dates[position]]
        text = fit_session(self._texts[index.session_keys[position]], heading, budget, self._tokenizer)
        return CountedText(text.text, heading + text.tokens)


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
        ranker_budget: tokens that sessions may take in the ranker's prompt.
        working_budget: tokens that sessions may take in the working LLM's prompt.
    """

    question: Question
    gold: tuple[int, ...]
    ranker_budget: int
    working_budget: int


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The questions of a dataset, split by split: those that can be trained on by id, and how many others there are."""

    eligible: Mapping[Split, Mapping[str, EligibleQuestion]]
    dropped: Mapping[Split, Mapping[Drop, int]]


def check_questions(
    dataset: Dataset, builder: PromptBuilder, working: WorkingSessions, max_candidates: int
) -> Eligibility:
    """Tell the questions that can be trained on from those that cannot.

    Args:
        dataset: the questions.
        builder: fills the ranker's context; counts the gold sessions here.
        working: knows what fits the working LLM's context; counts the headings here.
        max_candidates: the most sessions that the ranker is shown.
    """
    dropped: dict[Split, Counter[Drop]] = {split: Counter() for split in SPLITS}
    asked = []
    for question in dataset.questions:
        if reason := _check_content(question):
            dropped[question.split][reason] += 1
        else:
            asked.append((question, _gold_positions(question, dataset)))
    builder.count((dataset.haystack_of(question), gold) for question, gold in asked)
    working.count_headings(dataset.haystack_of(question) for question, _ in asked)
    eligible: dict[Split, dict[str, EligibleQuestion]] = {split: {} for split in SPLITS}
    for question, gold in asked:
        index = dataset.haystack_of(question)
        item = EligibleQuestion(question, gold, builder.budget(question), working.budget(question))
        if len(gold) > max_candidates:
            dropped[question.split][Drop.TOO_MANY_GOLD] += 1
        elif sum(builder.cost(index, position) for position in gold) > item.ranker_budget:
            dropped[question.split][Drop.GOLD_TOO_LONG] += 1
        elif working.longest_heading(index) >= item.working_budget:
            dropped[question.split][Drop.NO_ROOM_TO_ANSWER] += 1
        else:
            eligible[question.split][question.question_id] = item
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

"""The ranker's prompt of a question: the sessions that fill its context, each cut and counted once."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import SESSION_SEPARATOR, Message
from memsifter.llm.tokens import CountedText, Tokenizer, count_prompt, cut_texts
from memsifter.params import RankParams
from memsifter.ranking.candidates import Similarities, select_candidates
from memsifter.ranking.prompt import RankerPrompt, render_messages, render_session

_NUMBER_TOKENS = 4  # an empty prompt says "0 sessions", a full one a longer number


@dataclass(frozen=True, slots=True)
class FilledPrompt:
    """The ranker's messages for a question, and the sessions in them: haystack positions, as numbered."""

    candidates: tuple[int, ...]
    messages: list[Message]


class PromptBuilder:
    """Fills the ranker's context for the questions of one dataset.

    Each distinct session and each distinct heading is counted once, however many questions share it.
    """

    def __init__(self, dataset: Dataset, prompt: RankerPrompt, tokenizer: Tokenizer, params: RankParams) -> None:
        self._dataset = dataset
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._params = params
        self._texts: dict[str, CountedText] = {}
        self._headings: dict[tuple[int, str], int] = {}
        self._costs: dict[str, list[int]] = {}

    def count(self, sessions: Iterable[tuple[HaystackIndex, Iterable[int]]]) -> None:
        """Cut and count the sessions at some positions of their haystacks, together; known ones cost nothing.

        `cost` needs the sessions it is asked about, `fill` all sessions of the haystack.
        """
        keys: dict[str, None] = {}
        headings: dict[tuple[int, str], str] = {}
        for index, positions in sessions:
            last = self._last_number(index)
            for position in positions:
                date = index.dates[position]
                if index.session_keys[position] not in self._texts:
                    keys[index.session_keys[position]] = None
                if (last, date) not in self._headings and (last, date) not in headings:
                    headings[last, date] = SESSION_SEPARATOR + render_session(self._prompt, last, date, "")
        texts = {key: self._dataset.text(key) for key in keys}
        self._texts |= cut_texts(texts, self._tokenizer, self._params.session_tokens)
        counted = cut_texts({text: text for text in headings.values()}, self._tokenizer, None)
        self._headings |= {place: counted[text].tokens for place, text in headings.items()}

    def cost(self, index: HaystackIndex, position: int) -> int:
        """Tokens that a session takes in a prompt: its text, and its heading with the longest number."""
        heading = self._headings[self._last_number(index), index.dates[position]]
        return heading + self._texts[index.session_keys[position]].tokens

    def budget(self, question: Question) -> int:
        """Tokens that the sessions of a question may take: `rank.context_tokens` without the rest of the prompt."""
        messages = render_messages(self._prompt, question.question, question.question_date, [])
        return self._params.context_tokens - count_prompt(messages, self._tokenizer) - _NUMBER_TOKENS

    def fill(
        self, question: Question, similarities: Similarities, budget: int, required: Collection[int] = ()
    ) -> FilledPrompt:
        """Choose the candidates of a question and render its messages.

        A session that fills the context alone is cut to it, unless sessions are required.

        Args:
            question: one of the dataset's.
            similarities: (n,) coarse scores in haystack order.
            budget: what `budget` gave for this question.
            required: haystack positions that are shown in any case; together they must fit.

        Raises:
            MemSifterError: no session fits.
        """
        index = self._dataset.haystack_of(question)
        costs = self._costs_of(index)
        params = self._params
        candidates = select_candidates(
            similarities, costs, budget, params.max_candidates, params.candidate_order, required
        )
        shown = [self._texts[index.session_keys[position]] for position in candidates]
        if costs[candidates[0]] > budget:
            room = budget - (costs[candidates[0]] - shown[0].tokens)
            if room <= 0:
                raise MemSifterError(f"question {question.question_id!r}: no session fits; raise rank.context_tokens")
            shown = [cut_texts({"": shown[0].text}, self._tokenizer, room)[""]]
        sessions = [(index.dates[position], text.text) for position, text in zip(candidates, shown, strict=True)]
        messages = render_messages(self._prompt, question.question, question.question_date, sessions)
        return FilledPrompt(tuple(candidates), messages)

    def _last_number(self, index: HaystackIndex) -> int:
        return min(self._params.max_candidates, len(index.session_ids)) - 1

    def _costs_of(self, index: HaystackIndex) -> list[int]:
        if index.haystack_id not in self._costs:
            self._costs[index.haystack_id] = [self.cost(index, place) for place in range(len(index.session_ids))]
        return self._costs[index.haystack_id]

"""Sessions as the working LLM will read them while a ranking is paid: cut, and counted with their headings."""

from collections.abc import Iterable

from memsifter.chat.context import context_budget, count_headings, fit_session
from memsifter.chat.prompt import ChatPrompt
from memsifter.params import ChatParams
from memsifter.sessions import Question
from memsifter.store import Dataset, HaystackIndex
from memsifter.tokens import CountedText, Tokenizer, cut_texts


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

"""The working LLM's context: which of the top-ranked sessions fit, shown in the order in which they happened."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from memsifter.chat.endpoint import LOCAL, ChatRequest, Sampling
from memsifter.chat.prompt import ChatPrompt, render_prompt
from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.llm.context import SessionCounter, take_fitting
from memsifter.llm.prompts import SESSION_SEPARATOR, UNKNOWN_DATE, fill, plain_text
from memsifter.llm.tokens import Tokenizer, count_prompt, fold_system
from memsifter.params import ChatParams
from memsifter.retrieval.excerpts import ExcerptScores, SessionViews


@dataclass(frozen=True, slots=True)
class Context:
    """Sessions chosen for one question.

    Attributes:
        session_ids: in the order shown.
        text: the rendered sessions, for the prompt's `{sessions}`; "" if there are none.
        tokens: tokens of the text, counted per session.
    """

    session_ids: tuple[str, ...]
    text: str
    tokens: int


def render_sessions(prompt: ChatPrompt, sessions: Iterable[tuple[str, str]]) -> str:
    """The text for the prompt's `{sessions}`, from (date, text) pairs in the order shown."""
    return SESSION_SEPARATOR.join(_render_session(prompt, date, text) for date, text in sessions)


def _render_session(prompt: ChatPrompt, date: str, text: str) -> str:
    return fill(prompt.session, {"date": plain_text(date) or UNKNOWN_DATE, "text": plain_text(text)})


class ContextBuilder:
    """Fills the working LLM's context for the questions of one dataset.

    Each distinct session and date is tokenized once, however many questions share it.

    Attributes:
        sessions: the dataset's sessions as the prompt shows them.
    """

    def __init__(
        self, dataset: Dataset, prompt: ChatPrompt, tokenizer: Tokenizer, params: ChatParams, bm25: ExcerptScores
    ) -> None:
        self._dataset = dataset
        self._prompt = fold_system(prompt, tokenizer)
        self._tokenizer = tokenizer
        self._params = params
        views = SessionViews(dataset, tokenizer, params.view, params.session_tokens, bm25)
        self.sessions = SessionCounter(views, tokenizer, lambda date: _render_session(prompt, date, ""))

    def budget(self, question: Question) -> int:
        """Tokens that sessions may take in the prompt; 0 or less if the rest of it takes all `chat.context_tokens`."""
        rest = render_prompt(self._prompt, question.question, question.question_date, "")
        return self._params.context_tokens - count_prompt(rest, self._tokenizer)

    def fill(self, question: Question, ranking: Sequence[str]) -> Context:
        """Choose sessions for a question and render them in haystack order, which is chronological.

        The `chat.max_sessions` best are taken while they fit (`memsifter.llm.context.take_fitting`); one that exceeds
        even the whole budget is cut to it, so that a budget is never wasted on nothing. A larger `chat.max_sessions`
        only ever adds sessions.

        Args:
            question: one of the dataset's.
            ranking: session ids, best first.
        """
        index = self._dataset.haystack_of(question)
        position_of = {session_id: position for position, session_id in enumerate(index.session_ids)}
        ranked = [position_of[session_id] for session_id in ranking[: self._params.max_sessions]]
        counted = dict(zip(ranked, self.sessions.count(question, index, ranked), strict=True))
        budget = self.budget(question)
        taken = sorted(ranked[place] for place in take_fitting([counted[place].tokens for place in ranked], budget))
        fitted = {place: self.sessions.fit(counted[place], budget) for place in taken}
        shown = {place: session for place, session in fitted.items() if session.tokens <= budget}
        return Context(
            session_ids=tuple(index.session_ids[place] for place in shown),
            text=render_sessions(self._prompt, ((session.date, session.text) for session in shown.values())),
            tokens=sum(session.tokens for session in shown.values()),
        )


def keep_probable(ranking: Sequence[str], probabilities: Sequence[float | None], min_score: float | None) -> list[str]:
    """The sessions of a ranking whose probability is `chat.min_score` or more; all where that is None.

    Args:
        ranking: session ids, best first.
        probabilities: of the same sessions; None for one that the ranker was not shown, which counts as 0.
        min_score: the least probability that is shown.
    """
    if min_score is None:
        return list(ranking)
    shares = zip(ranking, probabilities, strict=True)
    return [session_id for session_id, share in shares if (share or 0.0) >= min_score]


@dataclass(frozen=True, slots=True)
class QuestionRequest:
    """A question with the sessions chosen for it and the request that shows them."""

    question: Question
    context: Context
    request: ChatRequest


def build_requests(
    dataset: Dataset,
    rankings: Mapping[str, Sequence[str]],
    prompt: ChatPrompt,
    tokenizer: Tokenizer,
    params: ChatParams,
    bm25: ExcerptScores,
    seed: int,
) -> list[QuestionRequest]:
    """Choose the context of every question and render its request, in dataset order.

    Args:
        dataset: the questions to answer.
        rankings: session ids, best first, by question id; an empty one shows no session.
        prompt: the working LLM's prompt file.
        tokenizer: counts the context: the local model's, which stands in for an endpoint's.
        params: `chat` of params.yaml.
        bm25: `retrieval.bm25` of params.yaml, or the terms of the dataset by it; it chooses excerpts.
        seed: sent with every request when it samples (`chat.temperature` above 0).

    Raises:
        MemSifterError: a question has no ranking, or no session of it fits `chat.context_tokens`.
    """
    builder = ContextBuilder(dataset, prompt, tokenizer, params, bm25)
    sent = sent_prompt(prompt, tokenizer, params)
    sampling = sampling_of(params, seed)
    requests = []
    for question in dataset.questions:
        if question.question_id not in rankings:
            raise MemSifterError(f"question {question.question_id!r} has no ranking; repeat rank for its split")
        context = builder.fill(question, rankings[question.question_id])
        if rankings[question.question_id] and not context.session_ids:
            raise MemSifterError(f"question {question.question_id!r}: no session fits; raise chat.context_tokens")
        text = render_prompt(sent, question.question, question.question_date, context.text)
        requests.append(QuestionRequest(question, context, ChatRequest(text, sampling, question.question_id)))
    return requests


def sent_prompt(prompt: ChatPrompt, tokenizer: Tokenizer, params: ChatParams) -> ChatPrompt:
    """The prompt as the working LLM is sent it: for a local model, as its chat template can show it.

    The template of an endpoint is its own; it is sent the system message as one.
    """
    return fold_system(prompt, tokenizer) if params.base_url == LOCAL else prompt


def sampling_of(params: ChatParams, seed: int) -> Sampling:
    """How the working LLM decodes; the seed is sent only where it samples."""
    return Sampling(
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        stop=params.stop,
        seed=None if params.temperature == 0 else seed,
    )

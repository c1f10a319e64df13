"""The working LLM's context: which of the top-ranked sessions fit, shown in the order in which they happened."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from memsifter.chat.endpoint import ChatRequest, Sampling
from memsifter.chat.prompt import ChatPrompt, render_prompt
from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import SESSION_SEPARATOR, UNKNOWN_DATE, fill
from memsifter.llm.tokens import CountedText, Tokenizer, count_prompt, cut_texts
from memsifter.params import ChatParams


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


def context_budget(
    prompt: ChatPrompt, question: str, question_date: str, tokenizer: Tokenizer, context_tokens: int
) -> int:
    """Tokens left for sessions in a prompt of at most `context_tokens`; 0 or less if the rest of it takes them all."""
    return context_tokens - count_prompt(render_prompt(prompt, question, question_date, ""), tokenizer)


def count_headings(dates: Iterable[str], prompt: ChatPrompt, tokenizer: Tokenizer) -> dict[str, int]:
    """Tokens of what stands around a session's text in the context, by the session's date; each date once."""
    headings = {date: SESSION_SEPARATOR + _render_session(prompt, date, "") for date in dates}
    return {date: text.tokens for date, text in cut_texts(headings, tokenizer, None).items()}


def fit_session(text: CountedText, heading: int, budget: int, tokenizer: Tokenizer) -> CountedText:
    """The session, cut to the budget if it is longer than the whole of it.

    Args:
        text: the session.
        heading: tokens of what stands around it (`count_headings`).
        budget: tokens that all sessions may take.
        tokenizer: the one that counted `text`.
    """
    room = budget - heading
    return cut_texts({"": text.text}, tokenizer, room)[""] if 0 < room < text.tokens else text


def take_sessions(session_tokens: Sequence[int], budget: int) -> list[int]:
    """Places of the sessions that fit: each is taken in turn unless it exceeds what is left of the budget.

    Args:
        session_tokens: tokens of each session with its heading, best session first.
        budget: tokens that they may take together.
    """
    taken = []
    for place, tokens in enumerate(session_tokens):
        if tokens <= budget:
            taken.append(place)
            budget -= tokens
    return taken


def render_sessions(prompt: ChatPrompt, sessions: Iterable[tuple[str, str]]) -> str:
    """The text for the prompt's `{sessions}`, from (date, text) pairs in the order shown."""
    return SESSION_SEPARATOR.join(_render_session(prompt, date, text) for date, text in sessions)


def build_context(
    ranking: Sequence[str],
    haystack: HaystackIndex,
    texts: Mapping[str, CountedText],
    headings: Mapping[str, int],
    prompt: ChatPrompt,
    tokenizer: Tokenizer,
    max_sessions: int,
    budget: int,
) -> Context:
    """Choose sessions for a question and render them in haystack order, which is chronological.

    The `max_sessions` best sessions are taken in turn. One that does not fit what is left of the budget is left out,
    and the next is tried. One that exceeds even the whole budget is cut to it, so that a budget is never wasted on
    nothing. A larger `max_sessions` only ever adds sessions.

    Args:
        ranking: session ids, best first.
        haystack: their haystack, for dates and order.
        texts: text and token count by session key (`memsifter.llm.tokens.cut_texts`).
        headings: tokens around a session by its date (`count_headings`).
        prompt: the prompt file, for its session template.
        tokenizer: the one that counted `texts`.
        max_sessions: how many sessions to consider; 0 gives an empty context.
        budget: tokens that the sessions may take, headings included (`context_budget`).
    """
    position_of = {session_id: position for position, session_id in enumerate(haystack.session_ids)}
    ranked = [position_of[session_id] for session_id in ranking[:max_sessions]]
    shown = {}
    for position in ranked:
        text = texts[haystack.session_keys[position]]
        shown[position] = fit_session(text, headings[haystack.dates[position]], budget, tokenizer)
    tokens = [headings[haystack.dates[position]] + shown[position].tokens for position in ranked]
    taken = take_sessions(tokens, budget)
    ordered = sorted(ranked[place] for place in taken)
    return Context(
        session_ids=tuple(haystack.session_ids[position] for position in ordered),
        text=render_sessions(prompt, ((haystack.dates[position], shown[position].text) for position in ordered)),
        tokens=sum(tokens[place] for place in taken),
    )


def _render_session(prompt: ChatPrompt, date: str, text: str) -> str:
    return fill(prompt.session, {"date": date or UNKNOWN_DATE, "text": text})


@dataclass(frozen=True, slots=True)
class PreparedQuestion:
    """A question with the sessions chosen for it and the request that shows them."""

    question: Question
    context: Context
    request: ChatRequest


def prepare_questions(
    dataset: Dataset,
    rankings: Mapping[str, Sequence[str]],
    prompt: ChatPrompt,
    tokenizer: Tokenizer,
    params: ChatParams,
    seed: int,
) -> list[PreparedQuestion]:
    """Choose the context of every question and render its request, in dataset order.

    Args:
        dataset: The questions to answer.
        rankings: Session ids, best first, by question id.
        prompt: The working LLM's prompt file.
        tokenizer: Counts the context; each distinct session once.
        params: `chat` of params.yaml.
        seed: Sent with every request when it samples (`chat.temperature` above 0).

    Raises:
        MemSifterError: a question has no ranking, or no session of it fits `chat.context_tokens`.
    """
    keys: dict[str, None] = {}
    dates: dict[str, None] = {}
    for question in dataset.questions:
        if question.question_id not in rankings:
            raise MemSifterError(f"question {question.question_id!r} has no ranking; repeat rank for its split")
        index = dataset.haystack_of(question)
        position_of = {name: position for position, name in enumerate(index.session_ids)}
        positions = [position_of[name] for name in rankings[question.question_id][: params.max_sessions]]
        keys |= dict.fromkeys(index.session_keys[position] for position in positions)
        dates |= dict.fromkeys(index.dates[position] for position in positions)
    texts = cut_texts({key: dataset.text(key) for key in keys}, tokenizer, params.session_tokens)
    headings = count_headings(dates, prompt, tokenizer)
    sampling = sampling_of(params, seed)
    prepared = []
    for question in dataset.questions:
        budget = context_budget(prompt, question.question, question.question_date, tokenizer, params.context_tokens)
        context = build_context(
            rankings[question.question_id],
            dataset.haystack_of(question),
            texts,
            headings,
            prompt,
            tokenizer,
            params.max_sessions,
            budget,
        )
        if not context.session_ids:
            raise MemSifterError(f"question {question.question_id!r}: no session fits; raise chat.context_tokens")
        text = render_prompt(prompt, question.question, question.question_date, context.text)
        prepared.append(PreparedQuestion(question, context, ChatRequest(text, sampling, question.question_id)))
    return prepared


def sampling_of(params: ChatParams, seed: int) -> Sampling:
    """How the working LLM decodes; the seed is sent only where it samples."""
    return Sampling(
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        stop=params.stop,
        seed=None if params.temperature == 0 else seed,
    )

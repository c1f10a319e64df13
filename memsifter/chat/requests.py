"""From rankings to requests: what the working LLM is asked for every question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memsifter.chat.context import Context, build_context, context_budget, count_headings
from memsifter.chat.prompt import ChatPrompt, render_prompt
from memsifter.chat.request import ChatRequest, Sampling
from memsifter.errors import MemSifterError
from memsifter.params import ChatParams
from memsifter.sessions import Question
from memsifter.store import Dataset
from memsifter.tokens import Tokenizer, cut_texts


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
        positions = [position_of[name] for name in rankings[question.question_id][: params.top_k]]
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
            params.top_k,
            budget,
        )
        if not context.session_ids:
            raise MemSifterError(f"question {question.question_id!r}: no session fits; raise chat.context_tokens")
        text = render_prompt(prompt, question.question, question.question_date, context.text)
        prepared.append(PreparedQuestion(question, context, ChatRequest(text, sampling)))
    return prepared


def sampling_of(params: ChatParams, seed: int) -> Sampling:
    """How the working LLM decodes; the seed is sent only where it samples."""
    return Sampling(
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        stop=params.stop,
        seed=seed if params.temperature > 0 else None,
    )

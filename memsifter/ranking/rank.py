"""What a ranker makes of the candidates of each question: its prompts, what it wrote, and its scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset
from memsifter.llm.tokens import Tokenizer, encode_prompt, opened_thought
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import RankParams
from memsifter.ranking.candidates import CoarseScores, PromptBuilder, scores_of
from memsifter.ranking.engine import Response, TokenPrompt
from memsifter.ranking.first_number import Tokens, before_number, log_probabilities, number_tokens, scoring_prompts
from memsifter.ranking.parse import Status, parse_ranking, ranking_regex
from memsifter.ranking.prompt import RankerPrompt
from memsifter.retrieval.excerpts import ExcerptScores


@dataclass(frozen=True, slots=True)
class QuestionPrompt:
    """A question's prompt for the ranker, and the candidates in it: haystack positions, as numbered."""

    question: Question
    candidates: tuple[int, ...]
    prompt: TokenPrompt


@dataclass(frozen=True, slots=True)
class Reading:
    """What a ranker made of one question's candidates.

    Attributes:
        named: candidates in its own order, best first; places in the prompt, not necessarily all.
        scores: float64 [candidates], in the order of the prompt; None where the ranker gave nothing to score by.
        response: what it wrote; where only its first number was asked for, up to the likeliest one.
        status: whether the response could be read.
        prompt_tokens: tokens of the prompt.
        response_tokens: tokens decoded.
    """

    named: tuple[int, ...]
    scores: NDArray[np.float64] | None
    response: str
    status: Status
    prompt_tokens: int
    response_tokens: int


def build_prompts(
    dataset: Dataset,
    scores: Mapping[str, CoarseScores],
    prompt: RankerPrompt,
    tokenizer: Tokenizer,
    params: RankParams,
    bm25: ExcerptScores,
    seed: int,
) -> list[QuestionPrompt]:
    """Choose candidates and render the prompt of every question; questions to one haystack become neighbours.

    Args:
        dataset: the questions to rank for.
        scores: (n,) coarse scores in haystack order, by question id.
        prompt: the ranker's prompt file.
        tokenizer: the ranker's.
        params: `rank` of params.yaml.
        bm25: `retrieval.bm25` of params.yaml, or the terms of the dataset by it; it chooses excerpts.
        seed: prompt i samples with `seed + i`, i counting questions in dataset order.

    Raises:
        MemSifterError: a question has no coarse scores, or leaves no room for a session in `rank.context_tokens`.
    """
    builder = PromptBuilder(dataset, prompt, tokenizer, params, bm25)
    opened = opened_thought(tokenizer)
    prompts = []
    for number, question in enumerate(dataset.questions):
        filled = builder.fill(question, scores_of(question, dataset.haystack_of(question), scores))
        sampling: dict[str, Any] = {
            "temperature": params.temperature,
            "top_p": params.top_p,
            "max_tokens": params.max_tokens,
            "seed": seed + number,
        }
        if params.structured_output:
            regex = ranking_regex(len(filled.candidates), prompt.base, params.max_ranked, params.think_chars, opened)
            sampling["structured_outputs"] = {"regex": regex}
        tokens = encode_prompt(filled.messages, tokenizer)
        prompts.append(QuestionPrompt(question, filled.candidates, TokenPrompt(question.question_id, tokens, sampling)))
    place: dict[str, int] = {}
    for question in dataset.questions:
        place.setdefault(question.haystack_id, len(place))
    return sorted(prompts, key=lambda item: place[item.question.haystack_id])


def read_candidates(
    prompts: Sequence[QuestionPrompt],
    ask: Callable[[Sequence[TokenPrompt]], Mapping[str, Response]],
    tokenizer: Tokenizer,
    base: int,
    params: RankParams,
) -> dict[str, Reading]:
    """Ask the ranker; what it makes of every question, by question id.

    With `rank.scores: first_number`, scores are read in a pass of their own behind what it has written; where the
    grammar leaves no thoughts before the first number, nothing is written first.

    Args:
        prompts: of the questions.
        ask: lets the ranker's engine answer prompts; the responses by prompt id.
        tokenizer: the ranker's.
        base: the number of the first session in the prompts.
        params: `rank` of params.yaml.

    Raises:
        MemSifterError: the engine cannot start or cannot give the scores that are asked for.
    """
    opened = opened_thought(tokenizer)
    silent = params.scores == "first_number" and params.structured_output and params.think_chars == 0
    written: dict[str, Reading] = {}
    if not silent:
        written = read_responses(prompts, ask([item.prompt for item in prompts]), base, opened)
        if params.scores == "written":
            return written
    before = {
        item.question.question_id: before_number(
            opened, None if silent else written[item.question.question_id].response
        )
        for item in prompts
    }
    asked = ask_numbers(prompts, before, tokenizer, base)
    scoring = [prompt for item in asked.values() for prompt in item.prompts]
    responses = ask(scoring)
    if silent:
        return {name: read_number(item, responses, base) for name, item in asked.items()}
    scores = {name: log_probabilities(name, item.labels, responses) for name, item in asked.items()}
    return {name: replace(reading, scores=scores.get(name)) for name, reading in written.items()}


def read_responses(
    prompts: Sequence[QuestionPrompt], responses: Mapping[str, Response], base: int, opened: str = ""
) -> dict[str, Reading]:
    """Read written rankings. A candidate's score is minus its place; those not named share the place after the last.

    Args:
        prompts: of the questions.
        responses: by question id.
        base: the number of the first session in the prompts.
        opened: what the prompts end with of the output (`memsifter.llm.tokens.opened_thought`).
    """
    readings = {}
    for item in prompts:
        name = item.question.question_id
        response = responses[name]
        parsed = parse_ranking(opened + response.text, len(item.candidates), base)
        scores = np.full(len(item.candidates), -1.0 - len(parsed.indices))
        scores[list(parsed.indices)] = -1.0 - np.arange(len(parsed.indices))
        readings[name] = Reading(
            named=parsed.indices,
            scores=scores if parsed.indices else None,
            response=response.text,
            status=parsed.status,
            prompt_tokens=response.prompt_tokens,
            response_tokens=response.response_tokens,
        )
    return readings


@dataclass(frozen=True, slots=True)
class NumberQuestion:
    """A question whose first number is to be scored.

    Attributes:
        before: what stands between the prompt and the number.
        labels: tokens of each candidate's number, in the order of the prompt.
        prompts: what the engine is asked.
    """

    name: str
    before: str
    labels: list[Tokens]
    prompts: list[TokenPrompt]


def ask_numbers(
    prompts: Sequence[QuestionPrompt], before: Mapping[str, str | None], tokenizer: Tokenizer, base: int
) -> dict[str, NumberQuestion]:
    """The scoring prompts of every question that has a ranking, by question id.

    Args:
        prompts: of the questions.
        before: what stands between prompt and first number, by question id; None where there is no ranking.
        tokenizer: the ranker's.
        base: the number of the first session in the prompts.
    """
    known: dict[tuple[str, int], tuple[list[int], list[Tokens]]] = {}
    asked = {}
    for item in prompts:
        name, count = item.question.question_id, len(item.candidates)
        text = before[name]
        if text is None:
            continue
        if (text, count) not in known:
            known[text, count] = number_tokens(text, range(base, base + count), tokenizer)
        head, labels = known[text, count]
        asked[name] = NumberQuestion(name, text, labels, scoring_prompts(item.prompt, head, labels))
    return asked


def read_number(asked: NumberQuestion, responses: Mapping[str, Response], base: int) -> Reading:
    """The reading of a ranker that writes nothing but the first number: its probabilities order the candidates."""
    scores = log_probabilities(asked.name, asked.labels, responses)
    order = order_by_score(scores)
    given = [responses[prompt.prompt_id] for prompt in asked.prompts]
    return Reading(
        named=tuple(order),
        scores=scores,
        response=f"{asked.before}{base + order[0]}",
        status="ok",
        prompt_tokens=given[0].prompt_tokens if given else 0,
        response_tokens=sum(response.response_tokens for response in given),
    )

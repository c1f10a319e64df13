"""The rank stage's work: from coarse scores to prompts, and from responses to rankings of the whole haystack."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.errors import MemSifterError
from memsifter.io.files import column_by, read_parquet
from memsifter.llm.tokens import Tokenizer, encode_prompt, opened_thought
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import Bm25Params, RankParams
from memsifter.ranking.candidates import CoarseScores, PromptBuilder
from memsifter.ranking.engine import Response, TokenPrompt
from memsifter.ranking.parse import complete_ranking, parse_ranking, ranking_regex
from memsifter.ranking.prompt import RankerPrompt

RANKINGS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("candidates", pa.list_(pa.string())),
        ("response", pa.string()),
        ("ranking", pa.list_(pa.string())),
        ("parse_status", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("response_tokens", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class QuestionPrompt:
    """A question's prompt for the ranker, and the candidates in it: haystack positions, as numbered."""

    question: Question
    candidates: tuple[int, ...]
    prompt: TokenPrompt


def build_prompts(
    dataset: Dataset,
    scores: Mapping[str, CoarseScores],
    prompt: RankerPrompt,
    tokenizer: Tokenizer,
    params: RankParams,
    bm25: Bm25Params,
    seed: int,
) -> list[QuestionPrompt]:
    """Choose candidates and render the prompt of every question; questions to one haystack become neighbours.

    Args:
        dataset: the questions to rank for.
        scores: (n,) coarse scores in haystack order, by question id.
        prompt: the ranker's prompt file.
        tokenizer: the ranker's.
        params: `rank` of params.yaml.
        bm25: `retrieval.bm25` of params.yaml, which chooses excerpts.
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


def read_responses(
    prompts: Sequence[QuestionPrompt],
    responses: Mapping[str, Response],
    dataset: Dataset,
    scores: Mapping[str, CoarseScores],
    base: int,
    opened: str = "",
) -> Iterator[dict[str, Any]]:
    """Rows of the rankings file, one per question: what was shown, what was written, and the complete ranking.

    The ranking holds what the ranker named, then its other candidates, then all other sessions, both in coarse order.

    Args:
        prompts: of the questions.
        responses: by question id.
        dataset: the questions.
        scores: (n,) coarse scores in haystack order, by question id.
        base: the number of the first session in the prompts.
        opened: what the prompts end with of the output (`memsifter.llm.tokens.opened_thought`).
    """
    for item in prompts:
        response = responses[item.question.question_id]
        names = dataset.haystack_of(item.question).session_ids
        parsed = parse_ranking(opened + response.text, len(item.candidates), base)
        order = order_by_score(scores[item.question.question_id])
        candidates = set(item.candidates)
        shown = [position for position in order if position in candidates]
        ranking = complete_ranking([item.candidates[number] for number in parsed.indices], [*shown, *order])
        yield {
            "question_id": item.question.question_id,
            "candidates": [names[place] for place in item.candidates],
            "response": response.text,
            "ranking": [names[place] for place in ranking],
            "parse_status": parsed.status,
            "prompt_tokens": response.prompt_tokens,
            "response_tokens": response.response_tokens,
        }


def load_coarse_scores(path: Path) -> dict[str, CoarseScores]:
    """The scores of the coarse order, which stage `order` wrote, by question id: (n,) float32 in haystack order.

    Raises:
        MemSifterError: the file is missing or broken.
    """
    schema = pa.schema([("question_id", pa.string()), ("coarse", pa.list_(pa.float32()))])
    rows = column_by(read_parquet(path, schema), "question_id", "coarse")
    return {name: np.asarray(row, dtype=np.float32) for name, row in rows.items()}


def scores_of(question: Question, index: HaystackIndex, scores: Mapping[str, CoarseScores]) -> CoarseScores:
    """The coarse scores of one question.

    Raises:
        MemSifterError: they are missing, not finite, or not one per session of the haystack.
    """
    known = scores.get(question.question_id)
    if known is None or len(known) != len(index.session_ids) or not np.isfinite(known).all():
        raise MemSifterError(f"question {question.question_id!r}: its coarse scores are missing; repeat order")
    return known

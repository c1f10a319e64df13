"""From coarse scores to rankings: choose candidates, prompt the ranker, read what it wrote."""

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
from memsifter.llm.tokens import Tokenizer, encode_prompt
from memsifter.params import RankParams
from memsifter.ranking.builder import PromptBuilder
from memsifter.ranking.candidates import Similarities, full_ranking
from memsifter.ranking.engine import Generation, GenerationRequest
from memsifter.ranking.parse import parse_ranking, ranking_regex
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
class Prepared:
    """A question on its way to the ranker: its candidates (haystack positions, as numbered) and its request."""

    question: Question
    candidates: tuple[int, ...]
    request: GenerationRequest


def prepare_requests(
    dataset: Dataset,
    similarities: Mapping[str, Similarities],
    prompt: RankerPrompt,
    tokenizer: Tokenizer,
    params: RankParams,
    seed: int,
) -> list[Prepared]:
    """Choose candidates and render the prompt of every question; questions to one haystack become neighbours.

    Each distinct session is cut and counted once, however many questions share it.

    Args:
        dataset: The questions to rank for.
        similarities: (n,) coarse scores in haystack order, by question id.
        prompt: The ranker's prompt file.
        tokenizer: The ranker's.
        params: `rank` of params.yaml.
        seed: Request i samples with `seed + i`, i counting questions in dataset order.

    Raises:
        MemSifterError: a question has no coarse scores, or leaves no room for a session in `rank.context_tokens`.
    """
    indexes = {question.haystack_id: dataset.haystack_of(question) for question in dataset.questions}
    builder = PromptBuilder(dataset, prompt, tokenizer, params)
    builder.count((index, range(len(index.session_ids))) for index in indexes.values())
    prepared = []
    for number, question in enumerate(dataset.questions):
        scores = scores_of(question, indexes[question.haystack_id], similarities)
        filled = builder.fill(question, scores, builder.budget(question))
        sampling: dict[str, Any] = {
            "temperature": params.temperature,
            "top_p": params.top_p,
            "max_tokens": params.max_tokens,
            "seed": seed + number,
        }
        if params.structured_output:
            regex = ranking_regex(len(filled.candidates), prompt.base, params.max_ranked, params.think_chars)
            sampling["structured_outputs"] = {"regex": regex}
        request = GenerationRequest(question.question_id, encode_prompt(filled.messages, tokenizer), sampling)
        prepared.append(Prepared(question, filled.candidates, request))
    order = {name: position for position, name in enumerate(indexes)}
    return sorted(prepared, key=lambda item: order[item.question.haystack_id])


def read_responses(
    prepared: Sequence[Prepared],
    responses: Mapping[str, Generation],
    dataset: Dataset,
    similarities: Mapping[str, Similarities],
    base: int,
) -> Iterator[dict[str, Any]]:
    """Rows of the rankings file, one per question: what was shown, what was written, and the complete ranking."""
    for item in prepared:
        response = responses[item.question.question_id]
        names = dataset.haystack_of(item.question).session_ids
        parsed = parse_ranking(response.text, len(item.candidates), base)
        ranking = full_ranking(parsed.indices, item.candidates, similarities[item.question.question_id])
        yield {
            "question_id": item.question.question_id,
            "candidates": [names[place] for place in item.candidates],
            "response": response.text,
            "ranking": [names[place] for place in ranking],
            "parse_status": parsed.status,
            "prompt_tokens": response.prompt_tokens,
            "response_tokens": response.response_tokens,
        }


def load_coarse_scores(path: Path) -> dict[str, Similarities]:
    """The scores of the coarse order, which stage `order` wrote, by question id: (n,) float32 in haystack order.

    Raises:
        MemSifterError: the file is missing or broken.
    """
    rows = column_by(read_parquet(path, ["question_id", "coarse"]), "question_id", "coarse")
    return {name: np.asarray(row, dtype=np.float32) for name, row in rows.items()}


def scores_of(question: Question, index: HaystackIndex, similarities: Mapping[str, Similarities]) -> Similarities:
    """The coarse scores of one question.

    Raises:
        MemSifterError: they are missing, or not one per session of the haystack.
    """
    scores = similarities.get(question.question_id)
    if scores is None or len(scores) != len(index.session_ids):
        raise MemSifterError(f"question {question.question_id!r}: its coarse scores are missing; repeat order")
    return scores

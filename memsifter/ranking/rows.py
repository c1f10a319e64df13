"""Rows of the rankings file: the complete ranking of every question's haystack, with scores and probabilities."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import softmax

from memsifter.corpus.store import Dataset
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import RankParams
from memsifter.ranking.candidates import CoarseScores, scores_of
from memsifter.ranking.fusion import fuse
from memsifter.ranking.parse import complete_ranking
from memsifter.ranking.rank import QuestionPrompt, Reading
from memsifter.ranking.weight import RankFusion

RANKINGS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("candidates", pa.list_(pa.string())),
        ("response", pa.string()),
        ("ranking", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("probabilities", pa.list_(pa.float32())),
        ("own_order", pa.list_(pa.string())),
        ("parse_status", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("response_tokens", pa.int32()),
    ]
)
"""`candidates` as the prompt numbered them; `ranking`: all sessions, best first; `scores` (the ranker's) and
`probabilities` stand beside `ranking`, null where a session has none; `own_order`: the candidates as the ranker itself
orders them, those that it does not name in coarse order."""

_DIGITS = 4  # of a probability: far above the rounding errors that differ between machines


def ranking_rows(
    prompts: Sequence[QuestionPrompt],
    readings: Mapping[str, Reading],
    dataset: Dataset,
    coarse: Mapping[str, CoarseScores],
    params: RankParams,
    fusion: RankFusion,
) -> Iterator[dict[str, Any]]:
    """A row per question.

    A fused ranking orders the candidates among the places that they have in the coarse order, so that a weight of 0 is
    the coarse order, also where a better session was too long for the prompt. A written one has the candidates first.

    Args:
        prompts: of the questions.
        readings: by question id.
        dataset: the questions.
        coarse: (n,) coarse scores in haystack order, by question id.
        params: `rank` of params.yaml.
        fusion: how the candidates are ordered.
    """
    for item in prompts:
        question = item.question
        reading, scores = readings[question.question_id], coarse[question.question_id]
        order = order_by_score(scores)
        numbers = {position: number for number, position in enumerate(item.candidates)}
        shown = [position for position in order if position in numbers]  # in coarse order, which decides between equals
        own = complete_ranking([item.candidates[number] for number in reading.named], shown)
        given = None if reading.scores is None else reading.scores[[numbers[position] for position in shown]]
        ranking, shares = complete_ranking(own, order), None
        if fusion.weight is not None:
            fused = fuse(scores[shown], given, params.scores, fusion.weight)
            ranked = iter([shown[place] for place in order_by_score(np.round(fused, _DIGITS))])
            ranking = [next(ranked) if position in numbers else position for position in order]
            shares = softmax(fusion.scale * fused)
        elif params.scores == "first_number":
            # A response that cannot be read tells nothing: then the coarse scores do.
            shares = softmax(fuse(scores[shown], None, params.scores, 0.0) if given is None else given)
        names = dataset.haystack_of(question).session_ids
        yield {
            "question_id": question.question_id,
            "candidates": [names[position] for position in item.candidates],
            "response": reading.response,
            "ranking": [names[position] for position in ranking],
            "scores": _beside(ranking, shown, given),
            "probabilities": _beside(ranking, shown, shares),
            "own_order": [names[position] for position in own],
            "parse_status": reading.status,
            "prompt_tokens": reading.prompt_tokens,
            "response_tokens": reading.response_tokens,
        }


def order_rows(dataset: Dataset, scores: Mapping[str, CoarseScores]) -> Iterator[dict[str, Any]]:
    """Rows of a coarse order that stands in for a ranker: no candidates, nothing written, a score for every session.

    Args:
        dataset: the questions.
        scores: (n,) of the order, in haystack order, by question id.
    """
    for question in dataset.questions:
        index = dataset.haystack_of(question)
        values = scores_of(question, index, scores)
        ranking = order_by_score(values)
        shares = softmax(fuse(values, None, "written", 0.0))
        yield {
            "question_id": question.question_id,
            "candidates": [],
            "response": "",
            "ranking": [index.session_ids[position] for position in ranking],
            "scores": [float(values[position]) for position in ranking],
            "probabilities": [round(float(shares[position]), _DIGITS) for position in ranking],
            "own_order": [],
            "parse_status": "ok",
            "prompt_tokens": 0,
            "response_tokens": 0,
        }


def _beside(ranking: Sequence[int], shown: Sequence[int], values: NDArray[np.float64] | None) -> list[float | None]:
    """The values of the shown sessions in the order of the ranking; None for the others."""
    known = {} if values is None else dict(zip(shown, np.round(values, _DIGITS).tolist(), strict=True))
    return [known.get(position) for position in ranking]

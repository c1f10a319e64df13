"""Rows of RL data, as verl reads them."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from memsifter.ordering import order_by_score
from memsifter.params.data import Kind
from memsifter.ranking.builder import FilledPrompt
from memsifter.ranking.candidates import Similarities
from memsifter.reward.sample import EXTRA_INFO
from memsifter.rl_data.eligibility import EligibleQuestion
from memsifter.store import HaystackIndex
from memsifter.tokens import CountedText

Row = dict[str, Any]

ROW_SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", EXTRA_INFO),
    ]
)


def build_row(
    item: EligibleQuestion,
    index: HaystackIndex,
    similarities: Similarities,
    filled: FilledPrompt,
    sessions: Sequence[CountedText],
    dataset: str,
    kind: Kind,
) -> Row:
    """The row of one question, but for its number, split and version, which `memsifter.rl_data.shards` gives it.

    Args:
        item: the question.
        index: its haystack.
        similarities: (n,) coarse scores in haystack order.
        filled: the ranker's messages and the candidates in them.
        sessions: the candidates as the working LLM reads them; tokens with their headings.
        dataset: name of the dataset.
        kind: of the dataset.
    """
    question = item.question
    number_of = {position: number for number, position in enumerate(filled.candidates)}
    return {
        "data_source": dataset,
        "prompt": filled.messages,
        "ability": kind,
        "reward_model": {"style": "rule", "ground_truth": question.answer},
        "extra_info": {
            "dataset": dataset,
            "kind": kind,
            "category": question.category,
            "question_id": question.question_id,
            "question": question.question,
            "question_date": question.question_date,
            "answer": question.answer,
            "session_ids": [index.session_ids[position] for position in filled.candidates],
            "dates": [index.dates[position] for position in filled.candidates],
            "sessions": [session.text for session in sessions],
            "session_tokens": [session.tokens for session in sessions],
            "positions": list(filled.candidates),
            "coarse_order": [number_of[place] for place in order_by_score(similarities) if place in number_of],
            "gold": [number_of[position] for position in item.gold],
            "context_tokens": item.working_budget,
        },
    }

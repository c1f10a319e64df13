"""A small dataset with coarse scores and rankings, and models of one token per byte, for tests of the RL data."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tiny_tokenizer import CHAT_TEMPLATE, byte_tokenizer

from memsifter.chat.prompt import load_chat_prompt
from memsifter.corpus.sessions import Haystack, Question, Session, Split, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import Tokenizer
from memsifter.params import DrawParams, load_params
from memsifter.ranking.candidates import CoarseScores
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.rl_data.recipe import DatasetRows, RoundModels, Source, prepare_dataset

TOKENIZER = byte_tokenizer(chat_template=CHAT_TEMPLATE)
HAYSTACKS = 3
SESSIONS = 8


def sessions(haystack: int) -> tuple[Session, ...]:
    """Sessions of different lengths; the first is the same in every haystack, the last is very long."""
    texts = ["hello to all"]
    texts += [f"h{haystack} said {number} " + "x" * 9 * number for number in range(1, SESSIONS - 1)]
    texts.append("so long " * 400)
    return tuple(Session(f"s{n}", f"{n + 1} May", (Turn("user", text),)) for n, text in enumerate(texts))


def question(
    number: int, split: Split = "train", gold: Sequence[int] = (2,), answer: str = "Ada", category: str = "single"
) -> Question:
    """Question `number`; the haystacks are asked in turn."""
    name = f"{split}-{number}"
    gold_ids = tuple(f"s{position}" for position in gold)
    return Question(name, split, f"h{number % HAYSTACKS}", f"Who is {number}?", "June", answer, category, gold_ids)


def questions(train: int = 12, test: int = 6) -> list[Question]:
    """Questions that can all be trained on, with one or two gold sessions."""
    gold = [(2,), (3, 5), (6,), (0, 1)]
    return [
        *(question(number, "train", gold[number % 4]) for number in range(train)),
        *(question(number, "test", gold[number % 4]) for number in range(test)),
    ]


def write_sample(asked: Iterable[Question], directory: Path) -> Dataset:
    """A processed dataset on disk, loaded."""
    write_dataset([*(Haystack(f"h{number}", sessions(number)) for number in range(HAYSTACKS)), *asked], directory)
    return load_dataset(directory)


def coarse_scores(dataset: Dataset) -> dict[str, CoarseScores]:
    """Made-up coarse scores, by question id alone."""
    return {
        item.question_id: np.random.default_rng(_seed(item)).random(
            len(dataset.haystack_of(item).session_ids), dtype=np.float32
        )
        for item in dataset.questions
    }


def rankings(dataset: Dataset, split: Split = "train") -> dict[str, list[str]]:
    """Made-up rankings of the questions of a split, unlike the coarse order."""
    return {
        item.question_id: list(
            np.random.default_rng(_seed(item) + 1).permutation(dataset.haystack_of(item).session_ids)
        )
        for item in dataset.questions
        if item.split == split
    }


def models(tokenizer: Tokenizer = TOKENIZER, rank: dict[str, Any] | None = None, **chat: Any) -> RoundModels:
    """Models with wide contexts; `rank` and `chat` change their parameters."""
    params = load_params()
    wide: dict[str, Any] = {"context_tokens": 4000, "view": "whole", "session_tokens": None}
    order = {"max_candidates": 5, "candidate_order": "chronological"}
    return RoundModels(
        ranker_prompt=load_ranker_prompt(prompt_path("ranker")),
        ranker_tokenizer=tokenizer,
        rank=params.rank.model_copy(update=wide | order | (rank or {})),
        chat_prompt=load_chat_prompt(prompt_path("chat")),
        chat_tokenizer=tokenizer,
        chat=params.chat.model_copy(update=wide | chat),
        bm25=params.retrieval.bm25,
    )


def source(dataset: Dataset, ranked: bool = True) -> Source:
    """The dataset with its scores, and with rankings of its train questions."""
    return Source("tiny", "chat", dataset, coarse_scores(dataset), rankings(dataset) if ranked else None)


def prepare(
    dataset: Dataset,
    given: RoundModels | None = None,
    *,
    ranked: bool = True,
    train: int = 5,
    test: int = 3,
    test_split: Split = "train",
    anchor: float = 0.2,
    seed: int = 7,
) -> DatasetRows:
    """`prepare_dataset` on the sample."""
    draw = DrawParams(train=train, test=test, test_split=test_split)
    key = "rounds.round1.recipe.tiny"
    return prepare_dataset(source(dataset, ranked), given or models(), draw, anchor, seed, key)


def in_reverse(dataset: Dataset) -> Dataset:
    """The same questions, the last first."""
    return replace(dataset, questions=dataset.questions[::-1])


def _seed(item: Question) -> int:
    return int.from_bytes(hashlib.sha256(item.question_id.encode()).digest()[:4], "big")

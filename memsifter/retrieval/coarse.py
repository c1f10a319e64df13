"""The coarse filter: scores of every session for every question, from vectors, words, dates and speakers."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from memsifter.params import RetrievalParams
from memsifter.retrieval.dates import DateIndex
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.score_lists import ScoreLists
from memsifter.retrieval.scores import Asked, compute_scores
from memsifter.retrieval.units import EmbeddedDataset
from memsifter.store import Dataset

_QUESTIONS_PER_BLOCK = 64  # bounds memory: a block holds a score of every turn of the haystack for each question


def score_questions(dataset: Dataset, embedded: EmbeddedDataset, params: RetrievalParams) -> ScoreLists:
    """Score the sessions of every question's haystack, all questions of a haystack together.

    Returns:
        The scores that `params` asks for, questions in the dataset's order.
    """
    texts = [question.question for question in dataset.questions]
    words = LexicalIndex([dataset.turns(key) for key in dataset.session_keys], texts, params.bm25)
    session_dates = [text for haystack in dataset.haystacks.values() for text in haystack.dates]
    dates = DateIndex(session_dates, texts)
    numbers = {key: number for number, key in enumerate(dataset.session_keys)}
    sizes = [len(dataset.haystack_of(question).session_keys) for question in dataset.questions]
    offsets = np.cumsum([0, *sizes], dtype=np.int64)
    columns: dict[str, NDArray[np.float32]] = {
        name: np.empty(int(offsets[-1]), dtype=np.float32) for name in params.computed_scores
    }
    members: dict[str, list[int]] = defaultdict(list)
    for position, question in enumerate(dataset.questions):
        members[question.haystack_id].append(position)
    first = 0
    for haystack in tqdm(dataset.haystacks.values(), desc="score", unit="haystack", disable=None):
        size = len(haystack.session_keys)
        sessions = np.asarray([numbers[key] for key in haystack.session_keys], dtype=np.int64)
        positions = members[haystack.haystack_id]
        for start in range(0, len(positions), _QUESTIONS_PER_BLOCK):
            block = positions[start : start + _QUESTIONS_PER_BLOCK]
            asked = Asked(
                words=words,
                dates=dates,
                embedded=embedded,
                window_turns=params.bm25.window_turns,
                questions=np.asarray(block, dtype=np.int64),
                sessions=sessions,
                entries=np.arange(first, first + size),
                texts=[texts[position] for position in block],
                question_dates=[dataset.questions[position].question_date for position in block],
                session_dates=haystack.dates,
            )
            entries = offsets[block][:, np.newaxis] + np.arange(size)
            for name, scores in compute_scores(asked, params.computed_scores).items():
                columns[name][entries] = scores
        first += size
    return ScoreLists(tuple(question.question_id for question in dataset.questions), offsets, columns)

"""The train questions with gold sessions of one or more datasets, with their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_json
from memsifter.retrieval.score_lists import ScoreLists

Kept = Mapping[str, Sequence[Question]]


@dataclass(frozen=True)
class TrainingSet:
    """What weights are fitted on.

    Attributes:
        scores: lists of all questions, datasets one after the other.
        gold: bool [entries], at least one per list.
        groups: int64 [Q]; questions whose haystacks share a session, directly or through others, are in one group.
        questions: how many questions come from each dataset.
        without_gold: how many train questions had to be left out.
        sha256: hash of the questions, their gold and their haystacks.
    """

    scores: ScoreLists
    gold: NDArray[np.bool_]
    groups: NDArray[np.int64]
    questions: Mapping[str, int]
    without_gold: int
    sha256: str


def collect_training_set(datasets: Mapping[str, Dataset], scores: Mapping[str, ScoreLists]) -> TrainingSet | None:
    """Take the train questions with gold out of the datasets; None when there is none.

    Args:
        datasets: by name, with the questions of all splits.
        scores: all scores of each dataset's questions.

    Raises:
        MemSifterError: a question has no scores, or not one for each session of its haystack.
    """
    trained = {
        name: [question for question in data.questions if question.split == "train"] for name, data in datasets.items()
    }
    kept = {name: [question for question in rows if question.answer_session_ids] for name, rows in trained.items()}
    counts = {name: len(rows) for name, rows in kept.items()}
    if not any(counts.values()):
        return None
    chosen = [
        _select(scores[name], rows, datasets[name], f"data/scores/{name}.parquet")
        for name, rows in kept.items()
        if rows
    ]
    gold = [
        session_id in question.answer_session_ids
        for name, rows in kept.items()
        for question in rows
        for session_id in datasets[name].haystack_of(question).session_ids
    ]
    return TrainingSet(
        scores=_concatenate(chosen),
        gold=np.asarray(gold, dtype=np.bool_),
        groups=group_by_shared_sessions(kept, datasets),
        questions=counts,
        without_gold=sum(map(len, trained.values())) - sum(counts.values()),
        sha256=_hash(kept, datasets),
    )


def _select(lists: ScoreLists, questions: Sequence[Question], dataset: Dataset, where: str) -> ScoreLists:
    positions = {name: position for position, name in enumerate(lists.question_ids)}
    lengths = np.diff(lists.offsets)
    for question in questions:
        position = positions.get(question.question_id)
        size = len(dataset.haystack_of(question).session_ids)
        if position is None or lengths[position] != size:
            raise MemSifterError(f"{where}: question {question.question_id!r} lacks its {size} scores; repeat score")
    return lists.select(np.asarray([positions[question.question_id] for question in questions], dtype=np.int64))


def _concatenate(parts: Sequence[ScoreLists]) -> ScoreLists:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return ScoreLists(
        tuple(name for part in parts for name in part.question_ids),
        np.append(0, np.cumsum(lengths)),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
    )


def _haystacks(kept: Kept, datasets: Mapping[str, Dataset]) -> dict[tuple[str, str], HaystackIndex]:
    """The distinct haystacks of the questions, by dataset and id."""
    return {
        (name, question.haystack_id): datasets[name].haystack_of(question)
        for name, rows in kept.items()
        for question in rows
    }


def group_by_shared_sessions(kept: Kept, datasets: Mapping[str, Dataset]) -> NDArray[np.int64]:
    """The group of each question, int64 [Q]: haystacks that share sessions, directly or through others, are one.

    Args:
        kept: the questions by dataset.
        datasets: by name.
    """
    haystacks = _haystacks(kept, datasets)
    numbers = {key: number for number, key in enumerate(haystacks)}
    sessions: dict[str, int] = {}
    edges = [
        (number, len(haystacks) + sessions.setdefault(key, len(sessions)))
        for number, haystack in enumerate(haystacks.values())
        for key in haystack.session_keys
    ]
    size = len(haystacks) + len(sessions)
    graph = sp.coo_matrix((np.ones(len(edges)), np.asarray(edges).T), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    rows = [numbers[name, question.haystack_id] for name, questions in kept.items() for question in questions]
    return np.asarray(labels[rows], dtype=np.int64)


def _hash(kept: Kept, datasets: Mapping[str, Dataset]) -> str:
    haystacks = {
        key: sha256_json([haystack.session_ids, haystack.session_keys, haystack.dates])
        for key, haystack in _haystacks(kept, datasets).items()
    }
    return sha256_json(
        [
            {
                "dataset": name,
                "haystack": haystacks[name, question.haystack_id],
                "question": [question.question_id, question.question, question.question_date],
                "gold": sorted(question.answer_session_ids),
            }
            for name, rows in kept.items()
            for question in rows
        ]
    )

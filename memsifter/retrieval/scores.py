"""Computation of the scores of `memsifter.retrieval.catalogue` for every question of a dataset."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from memsifter.corpus.store import Dataset, HaystackIndex
from memsifter.params import RetrievalParams, ScoreName, Unit
from memsifter.retrieval.bm25 import SessionTerms
from memsifter.retrieval.catalogue import computed_scores
from memsifter.retrieval.dates import DateIndex
from memsifter.retrieval.dense import cosines, multi_vector_scores, session_cosines, term_weight_scores
from memsifter.retrieval.embeddings import EmbeddedDataset
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.relative_dates import relative_date_scores
from memsifter.retrieval.score_lists import ScoreLists, Scores, max_per_group, mean_of_best

_BEST = 3  # turns in `*_mean3`
_QUESTIONS_PER_BATCH = 64  # bounds memory: a batch holds a score of every turn of the haystack for each question


@dataclass(frozen=True)
class QuestionBatch:
    """Some questions of one haystack, and all of its sessions.

    Attributes:
        lexical: the terms of the collection.
        dates: the dates of the collection.
        embedded: the embeddings of the collection.
        window_turns: turns of a window.
        questions: int64 [Q], positions in the collection's questions.
        sessions: int64 [S], positions in the collection's distinct sessions.
        entries: int64 [S], the rows of these sessions in `dates`.
        texts: the questions.
        question_dates: when they are asked, as the source writes it.
        session_dates: when the sessions took place.
    """

    lexical: LexicalIndex
    dates: DateIndex
    embedded: EmbeddedDataset
    window_turns: int
    questions: NDArray[np.int64]
    sessions: NDArray[np.int64]
    entries: NDArray[np.int64]
    texts: Sequence[str]
    question_dates: Sequence[str]
    session_dates: Sequence[str]


def compute_scores(batch: QuestionBatch, names: Collection[ScoreName]) -> dict[ScoreName, Scores]:
    """The scores of these names, each float32 [Q, S]; what two of them share is computed once."""
    return {
        name: scores
        for family, function in FAMILIES.items()
        if not set(family).isdisjoint(names)
        for name, scores in zip(family, function(batch), strict=True)
        if name in names
    }


def _dense_turns(batch: QuestionBatch) -> tuple[Scores, ...]:
    turns, starts = _cosines(batch, "turn")
    return max_per_group(turns, starts), mean_of_best(turns, starts, _BEST)


def _dense_window(batch: QuestionBatch) -> tuple[Scores, ...]:
    return (max_per_group(*_cosines(batch, "window")),)


def _dense_chunk(batch: QuestionBatch) -> tuple[Scores, ...]:
    return (max_per_group(*_cosines(batch, "chunk")),)


def _cosines(batch: QuestionBatch, unit: Unit) -> tuple[Scores, NDArray[np.int64]]:
    return cosines(batch.embedded.questions.rows(batch.questions), batch.embedded.units[unit], batch.sessions)


def _of_chunks(function: Callable[..., Scores]) -> Callable[[QuestionBatch], tuple[Scores, ...]]:
    """A score that reads the embeddings of chunks."""

    def scores(batch: QuestionBatch) -> tuple[Scores, ...]:
        questions = batch.embedded.questions.rows(batch.questions)
        return (function(questions, batch.embedded.units["chunk"], batch.sessions),)

    return scores


def _lexical_session(batch: QuestionBatch) -> tuple[Scores, ...]:
    return (batch.lexical.session_scores(batch.questions, batch.sessions),)


def _lexical_turns(batch: QuestionBatch) -> tuple[Scores, ...]:
    turns, starts = batch.lexical.window_scores(batch.questions, batch.sessions, 1)
    return max_per_group(turns, starts), mean_of_best(turns, starts, _BEST)


def _lexical_window(factor: float) -> Callable[[QuestionBatch], tuple[Scores, ...]]:
    """Windows of `factor` times as many turns as usual."""

    def scores(batch: QuestionBatch) -> tuple[Scores, ...]:
        size = max(1, round(batch.window_turns * factor))
        return (max_per_group(*batch.lexical.window_scores(batch.questions, batch.sessions, size)),)

    return scores


def _lexical_phrase(batch: QuestionBatch) -> tuple[Scores, ...]:
    return (batch.lexical.phrase_scores(batch.questions, batch.sessions),)


def _speaker(batch: QuestionBatch) -> tuple[Scores, ...]:
    return (batch.lexical.speaker_scores(batch.questions, batch.sessions),)


def _date(batch: QuestionBatch) -> tuple[Scores, ...]:
    return (batch.dates.scores(batch.questions, batch.entries),)


def _relative_date(batch: QuestionBatch) -> tuple[Scores, ...]:
    return (relative_date_scores(batch.texts, batch.question_dates, batch.session_dates),)


def _length(batch: QuestionBatch) -> tuple[Scores, ...]:
    # In float64: the last bits of a float32 logarithm differ between CPUs.
    lengths = np.log1p(batch.lexical.term_counts(batch.sessions).astype(np.float64)).astype(np.float32)
    return (np.broadcast_to(lengths, (len(batch.questions), len(lengths))),)


FAMILIES: dict[tuple[ScoreName, ...], Callable[[QuestionBatch], tuple[Scores, ...]]] = {
    ("dense_turn_max", "dense_turn_mean3"): _dense_turns,
    ("dense_window_max",): _dense_window,
    ("dense_chunk_max",): _dense_chunk,
    ("dense_session",): _of_chunks(session_cosines),
    ("m3_lexical",): _of_chunks(term_weight_scores),
    ("m3_multi_vector",): _of_chunks(multi_vector_scores),
    ("lexical_session",): _lexical_session,
    ("lexical_turn_max", "lexical_turn_mean3"): _lexical_turns,
    ("lexical_narrow_max",): _lexical_window(0.5),
    ("lexical_window_max",): _lexical_window(1),
    ("lexical_wide_max",): _lexical_window(2),
    ("lexical_phrase",): _lexical_phrase,
    ("speaker",): _speaker,
    ("date",): _date,
    ("relative_date",): _relative_date,
    ("length",): _length,
}


def index_words(dataset: Dataset, params: RetrievalParams, known: Sequence[SessionTerms] | None = None) -> LexicalIndex:
    """The terms of a dataset's questions and distinct sessions; `known` as in `LexicalIndex`."""
    texts = [question.question for question in dataset.questions]
    return LexicalIndex([dataset.turns(key) for key in dataset.session_keys], texts, params.bm25, known)


def score_questions(
    dataset: Dataset, embedded: EmbeddedDataset, params: RetrievalParams, lexical: LexicalIndex | None = None
) -> ScoreLists:
    """Score the sessions of every question's haystack, all questions of a haystack together.

    Args:
        dataset: the questions and their haystacks.
        embedded: its embeddings.
        params: which scores, and their parameters.
        lexical: `index_words` of the dataset, where it was made already.

    Returns:
        The scores that `params` asks for, questions in the dataset's order.
    """
    names = computed_scores(params)
    texts = [question.question for question in dataset.questions]
    lexical = lexical or index_words(dataset, params)
    dates = DateIndex([pair for haystack in dataset.haystacks.values() for pair in _dated_sessions(haystack)], texts)
    numbers = {key: number for number, key in enumerate(dataset.session_keys)}
    sizes = [len(dataset.haystack_of(question).session_keys) for question in dataset.questions]
    offsets = np.cumsum([0, *sizes], dtype=np.int64)
    columns: dict[str, NDArray[np.float32]] = {name: np.empty(int(offsets[-1]), dtype=np.float32) for name in names}
    members: dict[str, list[int]] = defaultdict(list)
    for position, question in enumerate(dataset.questions):
        members[question.haystack_id].append(position)
    progress = None if len(members) > 1 else True  # of a single one there is none to show
    for haystack_id in tqdm(members, desc="score", unit="haystack", disable=progress):
        haystack = dataset.haystacks[haystack_id]
        size = len(haystack.session_keys)
        sessions = np.asarray([numbers[key] for key in haystack.session_keys], dtype=np.int64)
        entries = dates.rows(_dated_sessions(haystack))
        positions = members[haystack_id]
        for start in range(0, len(positions), _QUESTIONS_PER_BATCH):
            block = positions[start : start + _QUESTIONS_PER_BATCH]
            batch = QuestionBatch(
                lexical=lexical,
                dates=dates,
                embedded=embedded,
                window_turns=params.bm25.window_turns,
                questions=np.asarray(block, dtype=np.int64),
                sessions=sessions,
                entries=entries,
                texts=[texts[position] for position in block],
                question_dates=[dataset.questions[position].question_date for position in block],
                session_dates=haystack.dates,
            )
            places = offsets[block][:, np.newaxis] + np.arange(size)
            for name, scores in compute_scores(batch, names).items():
                columns[name][places] = scores
    return ScoreLists(tuple(question.question_id for question in dataset.questions), offsets, columns)


def _dated_sessions(haystack: HaystackIndex) -> Iterator[tuple[str, str]]:
    """The key and the date of each session."""
    return zip(haystack.session_keys, haystack.dates, strict=True)

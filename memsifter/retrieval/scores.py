"""Every score of the coarse filter by its name.

| name | what it is |
|---|---|
| `dense_turn_max`, `dense_turn_mean3` | cosine of the question with a session's best turn; mean of its best three |
| `dense_window_max`, `dense_chunk_max` | with its best window of turns; with its best chunk of `embed.chunk_tokens` |
| `dense_session` | with the mean vector of its chunks |
| `m3_lexical`, `m3_multi_vector` | an M3 model's own term weights; its token vectors (late interaction); best chunk |
| `lexical_session`, `lexical_phrase` | BM25 of the session's terms; of its pairs of neighbouring terms |
| `lexical_turn_max`, `lexical_turn_mean3` | BM25 of its best turn; mean of its best three |
| `lexical_window_max` | BM25 of its best window of `retrieval.bm25.window_turns` turns |
| `lexical_narrow_max`, `lexical_wide_max` | the same with half and with twice as many turns |
| `speaker` | BM25 of what the speaker whom the question names says in the session |
| `date`, `relative_date` | agreement with the dates that the question names; with "last May", "two weeks ago", … |
| `length` | logarithm of the number of its terms |

A score of a session depends on the question, the session and the collection, never on the haystack's other sessions.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from memsifter.corpus.store import Dataset
from memsifter.params import RetrievalParams, ScoreName, Unit
from memsifter.retrieval.dates import DateIndex, relative_date_scores
from memsifter.retrieval.dense import cosines, multi_vector_scores, session_cosines, term_weight_scores
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.score_lists import ScoreLists, max_per_group, mean_of_best
from memsifter.retrieval.units import EmbeddedDataset

Scores = NDArray[np.float32]
BEST = 3


@dataclass(frozen=True)
class Asked:
    """Some questions of one haystack, and all of its sessions.

    Attributes:
        words: terms of the collection.
        dates: dates of the collection.
        embedded: embeddings of the collection.
        window_turns: turns of a window.
        questions: int64 [Q], positions in the collection's questions.
        sessions: int64 [S], positions in the collection's distinct sessions.
        entries: int64 [S], positions in the dates of `dates`.
        texts: the questions.
        question_dates: when they are asked, as the source writes it.
        session_dates: when the sessions took place.
    """

    words: LexicalIndex
    dates: DateIndex
    embedded: EmbeddedDataset
    window_turns: int
    questions: NDArray[np.int64]
    sessions: NDArray[np.int64]
    entries: NDArray[np.int64]
    texts: Sequence[str]
    question_dates: Sequence[str]
    session_dates: Sequence[str]


def compute_scores(asked: Asked, wanted: Collection[ScoreName]) -> dict[ScoreName, Scores]:
    """The wanted scores, each float32 [Q, S]; what two of them share is computed once."""
    return {
        name: scores
        for names, function in FAMILIES.items()
        if not set(names).isdisjoint(wanted)
        for name, scores in zip(names, function(asked), strict=True)
        if name in wanted
    }


def _dense_turns(asked: Asked) -> tuple[Scores, ...]:
    turns, starts = _cosines(asked, "turn")
    return max_per_group(turns, starts), mean_of_best(turns, starts, BEST)


def _dense_window(asked: Asked) -> tuple[Scores, ...]:
    return (max_per_group(*_cosines(asked, "window")),)


def _dense_chunk(asked: Asked) -> tuple[Scores, ...]:
    return (max_per_group(*_cosines(asked, "chunk")),)


def _cosines(asked: Asked, unit: Unit) -> tuple[Scores, NDArray[np.int64]]:
    return cosines(asked.embedded.questions.rows(asked.questions), asked.embedded.units[unit], asked.sessions)


def _of_chunks(function: Callable[..., Scores]) -> Callable[[Asked], tuple[Scores, ...]]:
    """A score that is made of the embeddings of chunks."""

    def scores(asked: Asked) -> tuple[Scores, ...]:
        questions = asked.embedded.questions.rows(asked.questions)
        return (function(questions, asked.embedded.units["chunk"], asked.sessions),)

    return scores


def _lexical_session(asked: Asked) -> tuple[Scores, ...]:
    return (asked.words.session_scores(asked.questions, asked.sessions),)


def _lexical_turns(asked: Asked) -> tuple[Scores, ...]:
    turns, starts = asked.words.window_scores(asked.questions, asked.sessions, 1)
    return max_per_group(turns, starts), mean_of_best(turns, starts, BEST)


def _lexical_window(factor: float) -> Callable[[Asked], tuple[Scores, ...]]:
    """Windows of `factor` times as many turns as usual."""

    def scores(asked: Asked) -> tuple[Scores, ...]:
        size = max(1, round(asked.window_turns * factor))
        return (max_per_group(*asked.words.window_scores(asked.questions, asked.sessions, size)),)

    return scores


def _lexical_phrase(asked: Asked) -> tuple[Scores, ...]:
    return (asked.words.phrase_scores(asked.questions, asked.sessions),)


def _speaker(asked: Asked) -> tuple[Scores, ...]:
    return (asked.words.speaker_scores(asked.questions, asked.sessions),)


def _date(asked: Asked) -> tuple[Scores, ...]:
    return (asked.dates.scores(asked.questions, asked.entries),)


def _relative_date(asked: Asked) -> tuple[Scores, ...]:
    return (relative_date_scores(asked.texts, asked.question_dates, asked.session_dates),)


def _length(asked: Asked) -> tuple[Scores, ...]:
    lengths = np.log1p(asked.words.term_counts(asked.sessions))
    return (np.broadcast_to(lengths, (len(asked.questions), len(lengths))),)


FAMILIES: dict[tuple[ScoreName, ...], Callable[[Asked], tuple[Scores, ...]]] = {
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

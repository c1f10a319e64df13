"""The coarse filter at scale, against a loop over the turns of every question: python -m bench.coarse.

Every question has a haystack of its own, drawn from one made-up collection of sessions with made-up vectors. The loop
computes two of the scores, BM25 of whole sessions and the best chunk's cosine, turn by turn and session by session from
the same term counts and vectors; it is timed on a few questions and scaled up.
"""

import argparse
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from bench.retrieval import make_text
from bench.side_by_side.rows import Result, Row, Scale, add_rows_option, finish
from bench.side_by_side.timing import alternate, peak_mib, seconds
from memsifter.corpus.sessions import Haystack, Question, Session, Turn, render_turns
from memsifter.corpus.store import Dataset, build_dataset
from memsifter.params import load_params
from memsifter.retrieval.bm25 import Vocabulary
from memsifter.retrieval.embeddings import EmbeddedDataset, EmbeddedUnits, Embeddings, TokenVectors
from memsifter.retrieval.scores import score_questions

_DIMENSIONS = 384
_LOOPED = 3
_LOOPED_SCORES = ("lexical_session", "dense_chunk_max")
_SCALED = "coarse scores, two of them"
_FEW = 10
_ROLES = ("user", "assistant")


def main() -> None:
    """Compare for all questions, and let ours grow in questions and in sessions."""
    arguments = _read_arguments()
    finish(_measure(arguments), arguments.rows)


def _measure(arguments: argparse.Namespace) -> Result:
    everything = load_params().retrieval
    two = everything.model_copy(update={"scores": _LOOPED_SCORES})
    dataset = _make_dataset(arguments, arguments.questions, arguments.sessions, arguments.pool)
    embedded = _make_embeddings(dataset, arguments.seed)
    half = replace(dataset, questions=dataset.questions[: arguments.questions // 2])
    score_questions(half, embedded, two)  # the first call sets things up
    halved, peak = seconds(lambda: score_questions(half, embedded, two)), peak_mib()
    looped, taken = alternate(
        lambda: [_score_alone(dataset, embedded, row) for row in range(_LOOPED)],
        lambda: score_questions(dataset, embedded, two),
    )
    looped *= len(dataset.questions) / _LOOPED
    grown = peak_mib()
    all_taken = seconds(lambda: score_questions(dataset, embedded, everything))
    floor = seconds(lambda: [_multiply(dataset, embedded, row) for row in range(len(dataset.questions))])
    work = f"coarse scores, {arguments.questions} questions x {arguments.sessions} sessions, vectors given"
    way, said = "a loop over questions and turns", f"The loop runs for {_LOOPED} questions and is scaled up."
    rows = [
        Row(
            f"{work}: BM25 of sessions, best chunk",
            way,
            looped,
            taken,
            "CPU s",
            20,
            floor,
            "each chunk's vector multiplied by its questions' once",
            f"{said} Ours counts the words of each distinct session once, and of {arguments.pool:,}.",
        ),
        Row(
            f"{work}: all {len(everything.scores)} scores",
            f"{way}, two of the scores",
            looped,
            all_taken,
            "CPU s",
            20,
            floor_is="as above",
            note="Ours computes turns, windows, phrases, speakers and dates, too; the loop only two scores.",
        ),
    ]
    scaling = [
        Scale(_SCALED, f"{len(half.questions)} questions x {arguments.sessions} sessions", halved, "CPU s"),
        Scale(_SCALED, f"{len(dataset.questions)} questions x {arguments.sessions} sessions", taken, "CPU s"),
        Scale("coarse scores: peak memory", f"{len(half.questions)} questions", peak, "MiB"),
        Scale("coarse scores: peak memory", f"{len(dataset.questions)} questions", grown, "MiB"),
    ]
    for sessions in arguments.grow:
        large = _make_dataset(arguments, _FEW, sessions, sessions)
        vectors = _make_embeddings(large, arguments.seed)
        grown_seconds = seconds(partial(score_questions, large, vectors, everything))
        scaling.append(Scale("all coarse scores", f"{_FEW} questions x {sessions:,} sessions", grown_seconds, "CPU s"))
    return Result(rows, scaling)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=500, help="each with a haystack of its own")
    parser.add_argument("--sessions", type=int, default=500, help="sessions of a haystack")
    parser.add_argument("--pool", type=int, default=2000, help="distinct sessions of the collection")
    parser.add_argument("--turns", type=int, default=10, help="turns of a session")
    parser.add_argument("--grow", type=int, nargs="*", default=[1000, 10_000], help="sessions of larger haystacks")
    parser.add_argument("--seed", type=int, default=7)
    add_rows_option(parser)
    return parser.parse_args()


def _make_dataset(arguments: argparse.Namespace, count: int, sessions: int, size: int) -> Dataset:
    rng = random.Random(arguments.seed)
    pool = [
        Session(f"s{i}", "8 May, 2023", tuple(Turn(_ROLES[t % 2], make_text(rng, 40)) for t in range(arguments.turns)))
        for i in range(size)
    ]
    haystacks = [Haystack(f"h{i}", tuple(rng.sample(pool, sessions))) for i in range(count)]
    questions = [Question(f"q{i}", "test", f"h{i}", make_text(rng, 8), "", "", "", ()) for i in range(count)]
    return build_dataset([*haystacks, *questions])


def _make_embeddings(dataset: Dataset, seed: int) -> EmbeddedDataset:
    """Random unit vectors; two chunks a session."""
    rng = np.random.default_rng(seed)

    def embed(count: int) -> Embeddings:
        vectors = rng.normal(size=(count, _DIMENSIONS)).astype(np.float32)
        empty = TokenVectors(np.empty((0, _DIMENSIONS), np.float32), np.zeros(count + 1, np.int64))
        return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), sp.csr_matrix((count, 1)), empty)

    sessions = len(dataset.session_keys)
    chunks = EmbeddedUnits(embed(2 * sessions), np.arange(0, 2 * sessions + 1, 2))
    return EmbeddedDataset(embed(len(dataset.questions)), {"chunk": chunks})


def _score_alone(dataset: Dataset, embedded: EmbeddedDataset, row: int) -> list[tuple[float, float]]:
    """What a loop does: count the terms of the haystack turn by turn, then score session by session."""
    question = dataset.questions[row]
    keys = dataset.haystack_of(question).session_keys
    vocabulary = Vocabulary()
    counts = []
    for key in keys:
        terms: Counter[int] = Counter()
        for turn in dataset.turns(key):
            terms.update(vocabulary.number([render_turns([turn])])[0])
        counts.append(terms)
    (asked,) = vocabulary.number([question.question])
    frequencies = {term: sum(term in terms for terms in counts) for term in set(asked)}
    mean = sum(terms.total() for terms in counts) / len(counts)
    positions = {key: position for position, key in enumerate(dataset.session_keys)}
    vectors, chunks = embedded.questions.dense[row], embedded.units["chunk"].embeddings.dense
    scores = []
    for key, terms in zip(keys, counts, strict=True):
        lexical = sum(
            np.log1p((len(counts) - frequencies[term] + 0.5) / (frequencies[term] + 0.5))
            * terms[term]
            / (terms[term] + 1.2 * (0.25 + 0.75 * terms.total() / mean))
            for term in asked
        )
        first = 2 * positions[key]
        scores.append((float(lexical), max(float(vectors @ chunk) for chunk in chunks[first : first + 2])))
    return scores


def _multiply(dataset: Dataset, embedded: EmbeddedDataset, row: int) -> Any:
    """The least that the dense score takes: the vectors of a haystack's chunks by the question's."""
    positions = {key: position for position, key in enumerate(dataset.session_keys)}
    chunks = embedded.units["chunk"].embeddings.dense
    first = 2 * np.asarray([positions[key] for key in dataset.haystack_of(dataset.questions[row]).session_keys])
    return np.maximum(chunks[first] @ embedded.questions.dense[row], chunks[first + 1] @ embedded.questions.dense[row])


if __name__ == "__main__":
    main()

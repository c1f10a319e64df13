"""The coarse filter at scale, against a loop over the turns of every question: python -m bench.coarse.

Every question has a haystack of its own, drawn from one made-up collection of sessions with made-up vectors. The loop
computes two of the scores, BM25 of whole sessions and the best chunk's cosine, turn by turn and session by session from
the same term counts and vectors; it is timed on a few questions and scaled up.
"""

import argparse
import random
import resource
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from bench.retrieval import make_text, seconds
from memsifter.corpus.sessions import Haystack, Question, Session, Turn, render_turns
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.params import load_params
from memsifter.retrieval.bm25 import Vocabulary
from memsifter.retrieval.embeddings import EmbeddedDataset, EmbeddedUnits, Embeddings, TokenVectors
from memsifter.retrieval.scores import score_questions

_DIMENSIONS = 384
_LOOPED = 3
_ROLES = ("user", "assistant")


def main() -> None:
    """Run the comparison for half of the questions and for all of them, and print a table."""
    arguments = _read_arguments()
    rows = [_compare(arguments, count) for count in (arguments.questions // 2, arguments.questions)]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=(".0f", ".0f", ".1f", ".1f", ".0f", ".2f")))


def _compare(arguments: argparse.Namespace, count: int) -> dict[str, float]:
    """Processor seconds of the loop and of all scores, their ratio, and the most memory used so far."""
    params = load_params().retrieval
    with tempfile.TemporaryDirectory() as directory:
        dataset = _make_dataset(arguments, count, Path(directory))
    embedded = _make_embeddings(dataset, arguments.seed)
    looped = seconds(lambda: [_score_alone(dataset, embedded, row) for row in range(_LOOPED)]) * count / _LOOPED
    taken = seconds(lambda: score_questions(dataset, embedded, params))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "questions": count,
        "sessions each": arguments.sessions,
        "a loop, s": looped,
        "all scores, s": taken,
        "ratio": looped / taken,
        "peak memory, GiB": peak,
    }


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000, help="each with a haystack of its own")
    parser.add_argument("--sessions", type=int, default=500, help="sessions of a haystack")
    parser.add_argument("--pool", type=int, default=2000, help="distinct sessions of the collection")
    parser.add_argument("--turns", type=int, default=10, help="turns of a session")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _make_dataset(arguments: argparse.Namespace, count: int, directory: Path) -> Dataset:
    rng = random.Random(arguments.seed)
    pool = [
        Session(f"s{i}", "8 May, 2023", tuple(Turn(_ROLES[t % 2], make_text(rng, 40)) for t in range(arguments.turns)))
        for i in range(arguments.pool)
    ]
    haystacks = [Haystack(f"h{i}", tuple(rng.sample(pool, arguments.sessions))) for i in range(count)]
    questions = [Question(f"q{i}", "test", f"h{i}", make_text(rng, 8), "", "", "", ()) for i in range(count)]
    write_dataset([*haystacks, *questions], directory)
    return load_dataset(directory)


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


if __name__ == "__main__":
    main()

"""Small datasets and scores with known weights behind them, for tests of retrieval and fusion."""

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.sessions import Question, Session, Turn
from memsifter.params import Bm25Params, FitParams, FusionWeights, RetrievalParams
from memsifter.retrieval.score_lists import ScoreLists

RETRIEVAL = RetrievalParams(
    fusion="fitted",
    scores=("dense_chunk_max", "lexical_session", "length"),
    lexical="bm25",
    weights=FusionWeights(dense=0.5, lexical=1.0, date=1.0),
    bm25=Bm25Params(k1=1.2, b=0.75, window_turns=2),
    fit=FitParams(datasets=("toy",), l2=1.0, folds=10, default_weights={"dense_chunk_max": 0.5}),
)


def make_session(name: str, date: str, *texts: str) -> Session:
    roles = ("user", "assistant")
    return Session(name, date, tuple(Turn(roles[number % 2], text) for number, text in enumerate(texts)))


def make_question(name: str, haystack: str, text: str, gold: tuple[str, ...] = (), split: str = "test") -> Question:
    return Question(name, "train" if split == "train" else "test", haystack, text, "2023/12/18 (Mon)", "", "", gold)


def random_scores(sizes: list[int], seed: int) -> ScoreLists:
    """Independent standard normal scores of all names that the parameters above ask for."""
    rng = np.random.default_rng(seed)
    offsets: NDArray[np.int64] = np.cumsum([0, *sizes], dtype=np.int64)
    columns: dict[str, NDArray[np.float32]] = {
        name: rng.normal(size=offsets[-1]).astype(np.float32) for name in RETRIEVAL.computed_scores
    }
    return ScoreLists(tuple(f"q{number}" for number in range(len(sizes))), offsets, columns)

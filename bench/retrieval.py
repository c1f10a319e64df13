"""What sharing and caching save, as ratios measured side by side: python -m bench.retrieval [--model DIR].

Two pairs on one made-up haystack that all questions share: BM25 over shared term counts or indexed anew for every
question (timed on a few questions and scaled up), and vectors read from the cache or computed.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from bench.side_by_side.rows import Result, Row, add_rows_option, finish
from bench.side_by_side.timing import alternate, seconds
from memsifter.corpus.sessions import Turn
from memsifter.io.paths import model_directory
from memsifter.llm.tokens import load_tokenizer
from memsifter.params import Bm25Params, EmbedParams
from memsifter.retrieval.chunks import chunk_texts
from memsifter.retrieval.embedding_tables import text_key
from memsifter.retrieval.encoder import Encoder, EncoderFiles, text_block
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.retrieval.units import window_turns
from memsifter.retrieval.vectors import VectorCache

_VOCABULARY = 5000
_LOOPED = 3
_WORDS_PER_TURN = 40
_BM25 = Bm25Params(k1=1.2, b=0.75, window_turns=4)


def main() -> None:
    """Run the comparisons and print the figures."""
    arguments = _read_arguments()
    rng = random.Random(arguments.seed)
    sessions = {
        f"s{i}": [make_text(rng, _WORDS_PER_TURN) for _ in range(arguments.turns)] for i in range(arguments.sessions)
    }
    questions = [make_text(rng, 8) for _ in range(arguments.questions)]
    rows = [_compare_lexical(sessions, questions)]
    encoder, chunks = _load_encoder(arguments.model, dict(list(sessions.items())[: arguments.embedded_sessions]))
    rows.append(_compare_cache(encoder, chunks + questions[: arguments.embedded_questions]))
    finish(Result(rows), arguments.rows)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000, help="questions of the lexical comparison")
    parser.add_argument("--sessions", type=int, default=500, help="sessions of the lexical comparison")
    parser.add_argument("--turns", type=int, default=10, help="turns of a session")
    parser.add_argument("--embedded-questions", type=int, default=8, help="questions of the cache's comparison")
    parser.add_argument("--embedded-sessions", type=int, default=10, help="sessions of the cache's comparison")
    parser.add_argument("--model", type=Path, default=model_directory("embedder"), help="an encoder's directory")
    parser.add_argument("--seed", type=int, default=7)
    add_rows_option(parser)
    return parser.parse_args()


def _compare_lexical(sessions: dict[str, list[str]], questions: Sequence[str]) -> Row:
    few = questions[:_LOOPED]
    anew, shared = alternate(
        lambda: [_index_and_score(sessions, question) for question in few],
        lambda: _score_shared(list(sessions.values()), questions),
    )
    return Row(
        f"BM25 of sessions and windows, {len(questions)} questions over {len(sessions)} shared sessions",
        "the haystack indexed for each question",
        anew * len(questions) / len(few),
        shared,
        "CPU s",
        floor_is="the words of each distinct session counted once",
        note=f"The reference (bm25s) runs for {len(few)} questions and is scaled up.",
    )


def _score_shared(sessions: list[list[str]], questions: Sequence[str]) -> None:
    index = LexicalIndex([[Turn("user", text) for text in turns] for turns in sessions], questions, _BM25)
    asked, scored = np.arange(len(questions)), np.arange(len(sessions))
    index.session_scores(asked, scored)
    index.window_scores(asked, scored, _BM25.window_turns)


def _index_and_score(sessions: dict[str, list[str]], question: str) -> list[NDArray[np.float32]]:
    """What a per-question loop does: tokenize the haystack, index sessions and windows, score one question."""
    whole = [" ".join(turns) for turns in sessions.values()]
    windows = [
        " ".join(turns[first:last])
        for turns in sessions.values()
        for first, last in window_turns(len(turns), _BM25.window_turns)
    ]
    tokenizer = {"stopwords": "en_plus", "stemmer": Stemmer.Stemmer("english"), "show_progress": False}
    query = bm25s.tokenize(question, return_ids=False, **tokenizer)[0]
    scores = []
    for texts in (whole, windows):
        retriever = bm25s.BM25(k1=_BM25.k1, b=_BM25.b)
        retriever.index(bm25s.tokenize(texts, **tokenizer), show_progress=False)
        scores.append(retriever.get_scores(query))
    return scores


def _load_encoder(directory: Path, sessions: dict[str, list[str]]) -> tuple[Encoder, list[str]]:
    params = EmbedParams(
        model="embedder",
        model_class="encoder-only-base",
        pooling="mean",
        query_instruction="",
        chunk_tokens=192,
        chunk_overlap=64,
        batch_size=8,
        use_fp16=False,
        workers=1,
        cpus_per_worker=1.0,
        gpus_per_worker=0.0,
    )
    files = EncoderFiles(directory, params)
    tokenizer = load_tokenizer(files.directory)
    texts = ["\n".join(turns) for turns in sessions.values()]
    chunked = chunk_texts(texts, tokenizer, params.chunk_tokens, params.chunk_overlap)
    encoder = Encoder(str(directory), params, files.max_tokens(tokenizer))
    encoder.encode(texts[:1])  # the first call also warms the libraries up
    return encoder, [chunk for session in chunked for _, _, chunk in session]


def _compare_cache(encoder: Encoder, texts: list[str]) -> Row:
    keys = [text_key(text) for text in texts]
    with tempfile.TemporaryDirectory() as directory:
        cache = VectorCache(Path(directory))
        cold = seconds(lambda: cache.append(encoder(text_block(texts))))
        cached = seconds(lambda: (cache.missing(keys), cache.read(keys)))
    return Row(
        f"{len(texts)} vectors from the cache",
        "computed again",
        cold,
        cached,
        "CPU s",
        floor_is="the vectors read",
        note="What an interrupted or repeated embed stage saves.",
    )


def make_text(rng: random.Random, words: int) -> str:
    """Words with the long-tailed frequencies of language: word n is about n times rarer than word 1."""
    ranks = (int(_VOCABULARY ** rng.random()) for _ in range(words))
    return " ".join(f"word{rank}" for rank in ranks)


if __name__ == "__main__":
    main()

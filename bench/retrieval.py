"""What sharing and caching save, as ratios measured side by side: python -m bench.retrieval [--model DIR].

Three pairs on one made-up haystack that all questions share: BM25 over shared term counts or indexed anew for every
question (timed on a few questions and scaled up), sessions embedded once or once per question, vectors read from the
cache or computed.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import bm25s
import numpy as np
import pandas as pd
import Stemmer
from numpy.typing import NDArray

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
_WORDS_PER_TURN = 40
_BM25 = Bm25Params(k1=1.2, b=0.75, window_turns=4)


def main() -> None:
    """Run the three comparisons and print a table."""
    arguments = _read_arguments()
    rng = random.Random(arguments.seed)
    sessions = {
        f"s{i}": [make_text(rng, _WORDS_PER_TURN) for _ in range(arguments.turns)] for i in range(arguments.sessions)
    }
    questions = [make_text(rng, 8) for _ in range(arguments.questions)]
    embedded = dict(list(sessions.items())[: arguments.embedded_sessions])
    shape = f"{len(questions)} questions over {len(sessions)} sessions"
    rows = [(f"BM25 of {shape}, term counts shared", *_compare_lexical(sessions, questions))]
    encoder, chunks = _load_encoder(arguments.model, embedded)
    asked = questions[: arguments.embedded_questions]
    once = seconds(lambda: encoder.encode(chunks + asked))
    per_question = seconds(lambda: [encoder.encode([*chunks, question]) for question in asked])
    rows.append((f"sessions embedded once for {len(asked)} questions", per_question, once))
    rows.append((f"{len(chunks) + len(asked)} vectors from the cache", *_compare_cache(encoder, chunks + asked)))
    table = pd.DataFrame(rows, columns=["what", "without, s", "with, s"])
    table["ratio"] = table["without, s"] / table["with, s"]
    print(table.to_markdown(index=False, floatfmt=(None, ".2f", ".3f", ".0f")))


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000, help="questions of the lexical comparison")
    parser.add_argument("--sessions", type=int, default=500, help="sessions of the lexical comparison")
    parser.add_argument("--turns", type=int, default=10, help="turns of a session")
    parser.add_argument("--embedded-questions", type=int, default=8, help="questions of the embedding comparisons")
    parser.add_argument("--embedded-sessions", type=int, default=10, help="sessions of the embedding comparisons")
    parser.add_argument("--model", type=Path, default=model_directory("embedder"), help="an encoder's directory")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _compare_lexical(sessions: dict[str, list[str]], questions: Sequence[str]) -> tuple[float, float]:
    shared = seconds(lambda: _score_shared(list(sessions.values()), questions))
    few = questions[:5]
    anew = seconds(lambda: [_index_and_score(sessions, question) for question in few])
    return anew * len(questions) / len(few), shared


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


def _compare_cache(encoder: Encoder, texts: list[str]) -> tuple[float, float]:
    keys = [text_key(text) for text in texts]
    with tempfile.TemporaryDirectory() as directory:
        cache = VectorCache(Path(directory))
        cold = seconds(lambda: cache.append(encoder(text_block(texts))))
        cached = seconds(lambda: (cache.missing(keys), cache.read(keys)))
    return cold, cached


def make_text(rng: random.Random, words: int) -> str:
    """Words with the long-tailed frequencies of language: word n is about n times rarer than word 1."""
    ranks = (int(_VOCABULARY ** rng.random()) for _ in range(words))
    return " ".join(f"word{rank}" for rank in ranks)


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds that some work takes, of all threads: what else the machine does is not counted."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()

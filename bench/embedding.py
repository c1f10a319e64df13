"""Embedding the sessions of conversations: python -m bench.embedding [FILE] [--haystacks N].

The reference collects the texts of every question's haystack, does so three times, since a Ray dataset that is counted
twice and then mapped is evaluated each time, and embeds whole sessions in batches of one size, cut where the model
ends. It is timed on a few questions and scaled up. Ours embeds the chunks of each distinct session once. Both run the
same encoder in this process: what Ray takes is in neither.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.side_by_side.conversations import add_file_argument, name_of, read_conversations
from bench.side_by_side.rows import Result, Row, Scale, add_rows_option, finish
from bench.side_by_side.timing import alternate, seconds
from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset
from memsifter.io.paths import model_directory
from memsifter.params import EmbedParams
from memsifter.retrieval.embedder import TextReader, embed_texts, list_units, missing_blocks, open_reader
from memsifter.retrieval.encoder import Encoder, EncoderFiles
from memsifter.retrieval.vectors import VectorCache

_EVALUATIONS = 3  # count, count, map
_BATCH = 32


def main() -> None:
    """Embed both ways and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_file_argument(parser)
    parser.add_argument("--haystacks", type=int, default=6, help="conversations")
    parser.add_argument("--reference-questions", type=int, default=1, help="questions that the reference is timed on")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--model", type=Path, default=model_directory("embedder"), help="an encoder's directory")
    add_rows_option(parser)
    options = parser.parse_args()
    finish(_measure(options), options.rows)


def _measure(options: argparse.Namespace) -> Result:
    params = EmbedParams()
    reader = open_reader(EncoderFiles(options.model, params))
    ours = Encoder(str(options.model), params, reader.max_tokens)
    theirs = Encoder(str(options.model), params.model_copy(update={"batch_size": _BATCH}), reader.max_tokens)
    dataset = read_conversations(options.file, options.haystacks)
    asked = dataset.questions[: options.reference_questions]
    for encoder in (ours, theirs):
        encoder.encode([dataset.text(dataset.session_keys[0])])  # the first call sets things up
    per_question, taken = alternate(
        partial(_embed_by_question, dataset, asked, theirs), partial(_embed, dataset, reader, ours), options.repeats
    )
    looped = per_question * len(dataset.questions) / len(asked)
    tokens = _count([dataset.text(key) for key in dataset.session_keys], reader)
    seen = tokens.clip(max=reader.max_tokens).sum()  # of the sessions that the reference cuts
    questions = _count([question.question for question in dataset.questions], reader).sum()
    chunks = _count([unit[-1] for unit in list_units(dataset, dataset.session_keys, reader)], reader).sum()
    counts = f"{len(dataset.questions)} questions over {len(tokens)} sessions in {options.haystacks} conversations"
    work = f"embed, {counts} of {name_of(options.file)}, cold"
    rows = [
        Row(
            work,
            "sessions collected three times and embedded whole for each question",
            float(seen) / looped,
            float(tokens.sum()) / taken,
            "tokens/CPU s",
            5,
            floor_is="each distinct token once",
            note=f"Tokens of distinct sessions that the model sees. The reference is timed on {len(asked)} question(s) "
            "and scaled up; the model never sees what it cuts.",
            more_is_better=True,
        ),
        Row(
            f"{work}: tokens computed",
            "sessions embedded whole for each question",
            float(seen) * len(dataset.questions) / options.haystacks / 1e3,
            float(chunks + questions) / 1e3,
            "thousand tokens",
            5,
            float(tokens.sum() + questions) / 1e3,
            "the tokens of distinct sessions and of the questions, once",
            f"Chunks overlap by {params.chunk_overlap} tokens of {params.chunk_tokens}: a fact on a border is in one "
            "chunk whole.",
        ),
    ]
    once = _embed_distinct(dataset, theirs)
    rows.append(
        Row(
            f"{work}, if the reference had each session once",
            f"distinct sessions embedded whole, batches of {_BATCH}",
            float(seen) / once,
            float(tokens.sum()) / taken,
            "tokens/CPU s",
            floor_is="each distinct token once",
            note="The encoder's own speed, which is not what saves the time. Ours embeds the questions, too.",
            more_is_better=True,
        )
    )
    half = read_conversations(options.file, options.haystacks // 2) if options.haystacks > 1 else dataset
    few = replace(half, questions=half.questions[: len(half.questions) // 10])
    scaling = [
        Scale("embed, cold", _shape(data), seconds(partial(_embed, data, reader, ours)), "CPU s")
        for data in ((few, half) if options.haystacks > 1 else (few,))
    ]
    return Result(rows, [*scaling, Scale("embed, cold", _shape(dataset), taken, "CPU s")])


def _shape(dataset: Dataset) -> str:
    return f"{len(dataset.session_keys)} sessions, {len(dataset.questions)} questions"


def _embed(dataset: Dataset, reader: TextReader, encoder: Encoder) -> None:
    """What the embed stage does, with one worker, into an empty cache."""
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-") as folder:
        cache = VectorCache(Path(folder))

        def compute(texts: Mapping[bytes, str]) -> int:
            blocks = missing_blocks(texts, cache, reader.params)
            for block in blocks:
                cache.append(encoder(block))
            return sum(map(len, blocks))

        embed_texts(dataset, reader, cache, compute)


def _embed_by_question(dataset: Dataset, questions: Sequence[Question], encoder: Encoder) -> None:
    for question in questions:
        for _ in range(_EVALUATIONS):
            texts = [dataset.text(key) for key in dataset.haystack_of(question).session_keys]
        encoder.encode([*texts, question.question])


def _embed_distinct(dataset: Dataset, encoder: Encoder) -> float:
    texts = [dataset.text(key) for key in dataset.session_keys]
    return seconds(lambda: encoder.encode(texts))


def _count(texts: Sequence[str], reader: TextReader) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(reader.tokenizer(list(texts), return_length=True, verbose=False)["length"], dtype=np.int64)


if __name__ == "__main__":
    main()

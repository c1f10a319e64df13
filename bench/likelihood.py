"""Reading for the likelihood score against the plain way: python -m bench.likelihood [--model DIR].

The plain way takes one question at a time, its texts in the order they come, and all logits of every text. Ours sorts
all texts by length and computes logits of the questions' tokens only. Both read the same made-up texts in one process,
on as many threads; seconds are the processor's.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.side_by_side.rows import Result, Row, add_rows_option, finish
from bench.side_by_side.timing import alternate
from memsifter.io.paths import model_directory
from memsifter.likelihood.model import LikelihoodReader, ScoredText, form_batches
from memsifter.params import LikelihoodParams


def main() -> None:
    """Time both ways in each number format, and print the figures."""
    arguments = _read_arguments()
    finish(Result([_compare(arguments, dtype) for dtype in arguments.dtypes]), arguments.rows)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=model_directory("base"), help="directory of a causal LM")
    add_rows_option(parser)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=LikelihoodParams().sessions, help="texts of a question")
    parser.add_argument(
        "--excerpt-tokens",
        type=int,
        default=LikelihoodParams().excerpt_tokens,
        help="most tokens before a question",
    )
    parser.add_argument("--batch-tokens", type=int, default=LikelihoodParams().batch_tokens)
    parser.add_argument("--threads", type=float, default=1.0)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _compare(arguments: argparse.Namespace, dtype: str) -> Row:
    params = LikelihoodParams.model_validate(
        {"dtype": dtype, "batch_tokens": arguments.batch_tokens, "cpus_per_worker": arguments.threads}
    )
    reader = LikelihoodReader(str(arguments.model), params)
    questions = _make_texts(arguments, reader.model.config.vocab_size)
    texts = sorted((text for group in questions for text in group), key=lambda text: -len(text.tokens))
    ours: dict[ScoredText, float] = {}
    plain: dict[ScoredText, float] = {}

    def read_sorted() -> None:
        for batch in form_batches([len(text.tokens) for text in texts], params.batch_tokens):
            chosen = [texts[place] for place in batch]
            ours.update(zip(chosen, reader.score(chosen).tolist(), strict=True))

    def read_plainly() -> None:
        for group in questions:
            plain.update(zip(group, _all_logits(reader.model, group), strict=True))

    reader.score(texts[:1])  # the first call sets things up
    taken_plainly, taken = alternate(read_plainly, read_sorted, arguments.repeats)
    tokens = sum(len(text.tokens) for text in texts)
    difference = max(abs(ours[text] - plain[text]) for text in texts)
    return Row(
        f"likelihood in {dtype}, {len(questions)} questions of {arguments.sessions} excerpts, {tokens:,} tokens",
        "question by question, all logits",
        tokens / taken_plainly,
        tokens / taken,
        "tokens/CPU s",
        floor_is="each token read once",
        note=f"{taken / len(questions):.2f} processor seconds a question; largest difference {difference:.1g} nats.",
        more_is_better=True,
    )


def _make_texts(arguments: argparse.Namespace, vocabulary: int) -> list[list[ScoredText]]:
    rng = random.Random(arguments.seed)
    questions = []
    for _ in range(arguments.questions):
        asked = [rng.randrange(vocabulary) for _ in range(rng.randint(8, 18))]
        sizes = [
            rng.randint(arguments.excerpt_tokens // 2, arguments.excerpt_tokens) for _ in range(arguments.sessions)
        ]
        contexts = [[rng.randrange(vocabulary) for _ in range(size)] for size in sizes]
        questions.append([ScoredText((*context, *asked), len(asked)) for context in contexts])
    return questions


def _all_logits(model: Any, texts: Sequence[ScoredText]) -> list[float]:
    """One padded batch, log-probabilities of every token, of which those of the questions are summed."""
    import torch

    longest = max(len(text.tokens) for text in texts)
    tokens = torch.tensor([text.tokens + (0,) * (longest - len(text.tokens)) for text in texts])
    mask = torch.tensor([[place < len(text.tokens) for place in range(longest)] for text in texts])
    with torch.inference_mode():
        logits = model(input_ids=tokens, attention_mask=mask.long()).logits[:, :-1].float()
    chosen = torch.log_softmax(logits, dim=-1).gather(2, tokens[:, 1:, None]).squeeze(2).numpy().astype(np.float64)
    return [
        float(row[len(text.tokens) - text.scored - 1 : len(text.tokens) - 1].sum())
        for row, text in zip(chosen, texts, strict=True)
    ]


if __name__ == "__main__":
    main()

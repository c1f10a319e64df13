"""What counting each distinct session once saves when RL data is prepared: python -m bench.prepare_rl [FILE].

The same rows are built twice: as the prepare_rl stage does, and with nothing shared between questions, so that each
counts the sessions of its haystack anew. Both are measured on LoCoMo's raw layout, or on the built-in dataset where
the file is absent. The coarse scores are made up: no count depends on them.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from memsifter.chat.context import ContextBuilder
from memsifter.chat.prompt import load_chat_prompt
from memsifter.corpus.sessions import Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.io.paths import ROOT, model_directory
from memsifter.llm.prompts import Message, prompt_path
from memsifter.llm.tokens import Tokenizer, load_tokenizer
from memsifter.params import DrawParams, load_params
from memsifter.ranking.candidates import PromptBuilder
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.rl_data.eligibility import check_questions
from memsifter.rl_data.recipe import RoundModels, Source, prepare_dataset
from memsifter.rl_data.rows import Row

_LOCOMO = ROOT.parent / "shared" / "data" / "locomo" / "locomo6.json"


class CountingTokenizer:
    """A tokenizer that counts the texts and characters it encodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.is_fast = tokenizer.is_fast
        self.chat_template = tokenizer.chat_template
        self._texts = 0
        self._characters = 0

    def __call__(self, text: Sequence[str], **kwargs: Any) -> Any:
        """Encode a batch of texts."""
        self._texts += len(text)
        self._characters += sum(map(len, text))
        return self._tokenizer(text, **kwargs)

    def apply_chat_template(self, conversation: Sequence[Message], **kwargs: Any) -> Any:
        """Render messages to one text."""
        return self._tokenizer.apply_chat_template(conversation, **kwargs)

    def take_counts(self) -> tuple[int, float]:
        """Texts and million characters encoded since the last call."""
        counts = self._texts, self._characters / 1e6
        self._texts = self._characters = 0
        return counts


def main() -> None:
    """Build the rows both ways and print a table."""
    arguments = _read_arguments()
    tokenizer = CountingTokenizer(load_tokenizer(arguments.model))
    models = _load_models(tokenizer)
    source = _load_source(arguments.file, models, arguments.seed)
    tokenizer.take_counts()
    start = time.perf_counter()
    shared = _build(source, models)
    shared_work = (*tokenizer.take_counts(), time.perf_counter() - start)
    start = time.perf_counter()
    alone = [row for question in source.dataset.questions for row in _build(_only(source, question), models)]
    alone_work = (*tokenizer.take_counts(), time.perf_counter() - start)
    if _by_question(shared) != _by_question(alone):
        raise AssertionError("both ways must build the same rows")
    sessions = {key for index in source.dataset.haystacks.values() for key in index.session_keys}
    title = f"{source.name}: {len(shared)} questions, {len(sessions)} distinct sessions"
    table = Table("", "per question", "shared", "ratio", title=title)
    rows = (("texts tokenized", ",.0f"), ("million characters", ".1f"), ("seconds", ".1f"))
    for (name, form), before, after in zip(rows, alone_work, shared_work, strict=True):
        table.add_row(name, f"{before:{form}}", f"{after:{form}}", f"{before / after:.1f}x")
    Console().print(table)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = _LOCOMO if _LOCOMO.is_file() else None
    parser.add_argument("file", type=Path, nargs="?", default=default, help="a file in LoCoMo's raw layout")
    parser.add_argument("--model", type=Path, default=model_directory("base"), help="whose tokenizer counts")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _load_models(tokenizer: Tokenizer) -> RoundModels:
    params = load_params()
    return RoundModels(
        ranker_prompt=load_ranker_prompt(prompt_path(params.rank.prompts.chat)),
        ranker_tokenizer=tokenizer,
        rank=params.rank,
        chat_prompt=load_chat_prompt(prompt_path(params.chat.prompts.chat)),
        chat_tokenizer=tokenizer,
        chat=params.chat,
        bm25=params.retrieval.bm25,
    )


def _load_source(file: Path | None, models: RoundModels, seed: int) -> Source:
    """The questions that can be trained on."""
    records = read_dataset("locomo", path=str(file), split="train") if file else read_dataset("sample")
    with tempfile.TemporaryDirectory() as directory:
        write_dataset(records, Path(directory) / "data")
        dataset = load_dataset(Path(directory) / "data", ["train"])
    rng = np.random.default_rng(seed)
    sizes = {question.question_id: len(dataset.haystack_of(question).session_ids) for question in dataset.questions}
    scores = {name: rng.random(size, dtype=np.float32) for name, size in sizes.items()}
    prompts = PromptBuilder(dataset, models.ranker_prompt, models.ranker_tokenizer, models.rank, models.bm25)
    contexts = ContextBuilder(dataset, models.chat_prompt, models.chat_tokenizer, models.chat, models.bm25)
    eligible = check_questions(dataset, prompts, contexts, models.rank.max_candidates).eligible["train"]
    chosen = replace(dataset, questions=tuple(item.question for item in eligible.values()))
    return Source(file.stem if file else "sample", "chat", chosen, scores, None)


def _only(source: Source, question: Question) -> Source:
    return replace(source, dataset=replace(source.dataset, questions=(question,)))


def _build(source: Source, models: RoundModels) -> list[Row]:
    draw = DrawParams(train=len(source.dataset.questions), test=0)
    return prepare_dataset(source, models, draw, anchor=0.0, seed=0, key="recipe").train


def _by_question(rows: Sequence[Row]) -> dict[str, Row]:
    return {row["extra_info"]["question_id"]: row for row in rows}


if __name__ == "__main__":
    main()

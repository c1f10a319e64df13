"""What counting each distinct session once saves when RL data is prepared: python -m bench.prepare_rl [FILE].

The same rows are built twice: as the prepare_rl stage does, and with nothing shared between questions, so that each
counts the sessions of its haystack anew. The latter is measured on a few questions and scaled up. The coarse scores are
made up: no count depends on them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.side_by_side.conversations import add_file_argument, name_of, read_conversations
from bench.side_by_side.rows import Result, Scale, add_rows_option, finish
from bench.side_by_side.rows import Row as Figure
from bench.side_by_side.timing import seconds
from memsifter.chat.context import ContextBuilder
from memsifter.chat.prompt import load_chat_prompt
from memsifter.corpus.sessions import Question
from memsifter.io.paths import model_directory
from memsifter.llm.prompts import Message, prompt_path
from memsifter.llm.tokens import Tokenizer, load_tokenizer
from memsifter.params import DrawParams, load_params
from memsifter.ranking.candidates import PromptBuilder
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.rl_data.eligibility import check_questions
from memsifter.rl_data.recipe import RoundModels, Source, prepare_dataset
from memsifter.rl_data.rows import Row


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
    """Build the rows both ways and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_file_argument(parser)
    parser.add_argument("--model", type=Path, default=model_directory("base"), help="whose tokenizer counts")
    parser.add_argument("--haystacks", type=int, help="the first of the file (default: all)")
    parser.add_argument("--alone", type=int, default=20, help="questions that are built alone; scaled up to all")
    parser.add_argument("--seed", type=int, default=7)
    add_rows_option(parser)
    options = parser.parse_args()
    finish(_measure(options), options.rows)


def _measure(options: argparse.Namespace) -> Result:
    tokenizer = CountingTokenizer(load_tokenizer(options.model))
    models = _load_models(tokenizer)
    source = _load_source(options, models)
    questions = source.dataset.questions
    drawn = questions[:: max(1, len(questions) // options.alone)]
    tokenizer.take_counts()
    rows: dict[str, Row] = {}
    alone: list[Row] = []
    taken = seconds(lambda: rows.update(_by_question(_build(source, models))))
    _, shared = tokenizer.take_counts()
    looped = seconds(lambda: alone.extend(row for item in drawn for row in _build(_only(source, item), models)))
    _, each = tokenizer.take_counts()
    if any(rows[name] != row for name, row in _by_question(alone).items()):
        raise AssertionError("both ways must build the same rows")
    scale = len(questions) / len(drawn)
    keys = source.dataset.session_keys
    floor = sum(len(source.dataset.text(key)) for key in keys) + sum(len(item.question) for item in questions)
    work = f"prepare RL data, {len(questions)} {name_of(options.file)} questions over {len(keys)} sessions"
    way, said = "sessions tokenized for each question", f"The reference: {len(drawn)} questions, scaled up."
    found = [
        Figure(
            f"{work}: text tokenized",
            way,
            each * scale,
            shared,
            "million characters",
            20,
            floor / 1e6,
            "each distinct session and question once",
            f"{said} Ours also tokenizes the filled prompt of each question: to be exact, what is shown is counted as "
            "a whole. Excerpts depend on the question, too; only their lines are counted once.",
        ),
        Figure(work, way, looped * scale, taken, "CPU s", floor_is="the same", note=said),
    ]
    return Result(found, [Scale("prepare RL data", f"{len(questions)} questions", taken, "CPU s")])


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


def _load_source(options: argparse.Namespace, models: RoundModels) -> Source:
    """The questions that can be trained on."""
    dataset = read_conversations(options.file, options.haystacks)
    rng = np.random.default_rng(options.seed)
    sizes = {question.question_id: len(dataset.haystack_of(question).session_ids) for question in dataset.questions}
    scores = {name: rng.random(size, dtype=np.float32) for name, size in sizes.items()}
    prompts = PromptBuilder(dataset, models.ranker_prompt, models.ranker_tokenizer, models.rank, models.bm25)
    contexts = ContextBuilder(dataset, models.chat_prompt, models.chat_tokenizer, models.chat, models.bm25)
    eligible = check_questions(dataset, prompts, contexts, models.rank.max_candidates).eligible["train"]
    chosen = replace(dataset, questions=tuple(item.question for item in eligible.values()))
    return Source(options.file.stem if options.file else "sample", "chat", chosen, scores, None)


def _only(source: Source, question: Question) -> Source:
    return replace(source, dataset=replace(source.dataset, questions=(question,)))


def _build(source: Source, models: RoundModels) -> list[Row]:
    draw = DrawParams(train=len(source.dataset.questions), test=0)
    return prepare_dataset(source, models, draw, anchor=0.0, seed=0, key="recipe").train


def _by_question(rows: Sequence[Row]) -> dict[str, Row]:
    return {row["extra_info"]["question_id"]: row for row in rows}


if __name__ == "__main__":
    main()

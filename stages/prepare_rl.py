"""Draw the questions of a training round and write them as RL data: python -m stages.prepare_rl <round>.

Where the ranker that the round starts from has ranked the train questions, those near the round's anchor are preferred.
"""

import logging

from memsifter.cards.render import CARD_FILE, render_data_card
from memsifter.chat.prompt import load_chat_prompt
from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import atomic_directory, write_json, write_text
from memsifter.io.paths import (
    dataset_directory,
    model_directory,
    orders_file,
    rankings_file,
    rl_directory,
    rl_report_directory,
)
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import Tokenizer, load_tokenizer
from memsifter.params import DrawParams, Params, RoundParams
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import load_coarse_scores
from memsifter.rl_data.draw import load_rankings
from memsifter.rl_data.recipe import PreparedDataset, Readers, Source, prepare_dataset
from memsifter.rl_data.report import build_report, render_histogram, render_report
from memsifter.rl_data.rows import hash_rows, shuffle_rows, write_rows

logger = logging.getLogger(__name__)


def main(params: Params, round_name: str) -> dict[str, float]:
    """Write `data/rl/<round>/` and `reports/rl/<round>/`."""
    training_round = params.rounds[round_name]
    ranker_tokenizer = load_tokenizer(model_directory(training_round.start_from))
    # An endpoint's tokenizer is not to be had; the local model's counts well enough for a budget.
    chat_tokenizer = load_tokenizer(model_directory(params.chat.local_model))
    datasets = []
    for name, draw in training_round.recipe.items():
        readers = _load_readers(params, name, ranker_tokenizer, chat_tokenizer)
        source = _load_source(params, name, training_round, draw)
        key = f"rounds.{round_name}.recipe.{name}"
        datasets.append(prepare_dataset(source, readers, draw, training_round.anchor, params.seed, key))
    return _write(datasets, params, round_name)


def _load_readers(params: Params, dataset: str, ranker_tokenizer: Tokenizer, chat_tokenizer: Tokenizer) -> Readers:
    kind = params.datasets[dataset].kind
    return Readers(
        ranker_prompt=load_ranker_prompt(prompt_path(params.rank.prompts.of_kind(kind))),
        ranker_tokenizer=ranker_tokenizer,
        rank=params.rank,
        chat_prompt=load_chat_prompt(prompt_path(params.chat.prompts.of_kind(kind))),
        chat_tokenizer=chat_tokenizer,
        chat=params.chat,
    )


def _load_source(params: Params, dataset: str, training_round: RoundParams, draw: DrawParams) -> Source:
    questions = load_dataset(dataset_directory(dataset), {"train", draw.test_split} if draw.test else {"train"})
    trained = [question for question in questions.questions if question.split == "train"]
    return Source(
        name=dataset,
        kind=params.datasets[dataset].kind,
        dataset=questions,
        similarities=load_coarse_scores(orders_file(dataset)),
        rankings=load_rankings(rankings_file(training_round.start_from, dataset), trained),
    )


def _write(datasets: list[PreparedDataset], params: Params, round_name: str) -> dict[str, float]:
    training_round = params.rounds[round_name]
    train = shuffle_rows([row for item in datasets for row in item.train], params.seed)
    test = [row for item in datasets for row in item.test]
    version = training_round.version or hash_rows(train, test)
    with atomic_directory(rl_directory(round_name)) as directory:
        files = write_rows(directory, train, test, training_round.shard_rows, version)
        report = build_report(datasets, training_round, files, version)
        write_json(directory / "report.json", report)
        write_text(directory / CARD_FILE, render_data_card(params, round_name, report))
    reports = rl_report_directory(round_name)
    write_text(reports / "report.md", render_report(report, round_name))
    write_text(reports / "ndcg.csv", render_histogram(report))
    logger.info("%d train rows in %d files, %d test rows, version %s", len(train), len(files) - 1, len(test), version)
    tokens = [count for item in datasets for count in item.prompt_tokens]
    return {
        "train_rows": len(train),
        "test_rows": len(test),
        "prompt_tokens_mean": sum(tokens) / len(tokens),
        "prompt_tokens_max": max(tokens),
        "ndcg_mean": sum(value for item in datasets for value in item.ndcg) / len(train),
    }


if __name__ == "__main__":
    run_stage(main)

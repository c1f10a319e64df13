"""The RL data of a training round: the rows of every dataset of its recipe, and the files that hold them."""

import logging
from pathlib import Path

from memsifter.chat.prompt import load_chat_prompt
from memsifter.corpus.store import load_dataset
from memsifter.io.files import atomic_directory, write_json, write_text
from memsifter.io.paths import dataset_directory, model_directory, orders_file, rankings_file
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import Tokenizer, load_tokenizer
from memsifter.params import DrawParams, Params
from memsifter.ranking.candidates import load_coarse_scores
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.rl_data.draw import load_rankings
from memsifter.rl_data.recipe import DatasetRows, RoundModels, Source, prepare_dataset
from memsifter.rl_data.rows import hash_rows, shuffle_rows, write_rows
from memsifter.rl_data.statistics import describe_round, render_histogram, render_page

logger = logging.getLogger(__name__)


def prepare_round(params: Params, round_name: str) -> list[DatasetRows]:
    """Draw the questions of a round and build their rows, dataset by dataset in recipe order.

    Where the ranker that the round starts from has ranked the train questions of a dataset, those near the round's
    anchor are preferred.

    Raises:
        MemSifterError: what earlier stages write is missing or incomplete, or there are fewer questions than the recipe
            takes.
    """
    training_round = params.rounds[round_name]
    ranker_tokenizer = load_tokenizer(model_directory(training_round.start_from))
    # Endpoints do not publish their tokenizer; the local model's counts well enough for a budget.
    chat_tokenizer = load_tokenizer(model_directory(params.chat.local_model))
    datasets = []
    for name, draw in training_round.recipe.items():
        models = _load_models(params, name, ranker_tokenizer, chat_tokenizer)
        source = _load_source(params, name, training_round.start_from, draw)
        key = f"rounds.{round_name}.recipe.{name}"
        datasets.append(prepare_dataset(source, models, draw, training_round.anchor, params.seed, key))
    return datasets


def write_round(datasets: list[DatasetRows], params: Params, round_name: str, directory: Path, reports: Path) -> None:
    """Write the rows of all datasets as one shuffled training set and one test set, with their statistics.

    Args:
        datasets: from `prepare_round`.
        params: all parameters.
        round_name: the round.
        directory: replaced as a whole: the rows, `report.json` and the data card.
        reports: `report.md` and `ndcg.csv`.
    """
    # Imported here: it brings MLflow, which takes seconds, and a wrong parameter should be reported at once.
    from memsifter.cards.render import CARD_FILE, render_data_card

    training_round = params.rounds[round_name]
    train = shuffle_rows([row for item in datasets for row in item.train], params.seed)
    test = [row for item in datasets for row in item.test]
    version = training_round.version or hash_rows(train, test)
    with atomic_directory(directory) as temporary:
        files = write_rows(temporary, train, test, training_round.shard_rows, version)
        figures = describe_round(datasets, training_round, files, version)
        write_json(temporary / "report.json", figures)
        write_text(temporary / CARD_FILE, render_data_card(params, round_name, figures))
    write_text(reports / "report.md", render_page(figures, round_name))
    write_text(reports / "ndcg.csv", render_histogram(figures))
    logger.info("%d train rows in %d files, %d test rows, version %s", len(train), len(files) - 1, len(test), version)


def _load_models(params: Params, dataset: str, ranker_tokenizer: Tokenizer, chat_tokenizer: Tokenizer) -> RoundModels:
    kind = params.datasets[dataset].kind
    return RoundModels(
        ranker_prompt=load_ranker_prompt(prompt_path(params.rank.prompts.of_kind(kind))),
        ranker_tokenizer=ranker_tokenizer,
        rank=params.rank,
        chat_prompt=load_chat_prompt(prompt_path(params.chat.prompts.of_kind(kind))),
        chat_tokenizer=chat_tokenizer,
        chat=params.chat,
        bm25=params.retrieval.bm25,
    )


def _load_source(params: Params, dataset: str, ranker: str, draw: DrawParams) -> Source:
    questions = load_dataset(dataset_directory(dataset), {"train", draw.test_split} if draw.test else {"train"})
    trained = [question for question in questions.questions if question.split == "train"]
    return Source(
        name=dataset,
        kind=params.datasets[dataset].kind,
        dataset=questions,
        scores=load_coarse_scores(orders_file(dataset)),
        rankings=load_rankings(rankings_file(ranker, dataset), trained),
    )

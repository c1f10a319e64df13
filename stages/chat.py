"""Let the working LLM answer from the top-ranked sessions: python -m stages.chat <ranker> <dataset>."""

import logging

from memsifter.chat.answers import ANSWERS_SCHEMA, read_answers, summarize_answers
from memsifter.chat.context import build_requests, keep_probable
from memsifter.chat.prompt import load_chat_prompt
from memsifter.chat.server import ask_working_llm
from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import column_by, read_parquet, write_parquet
from memsifter.io.paths import answers_file, cache_directory, dataset_directory, model_directory, rankings_file
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer
from memsifter.params import Params

logger = logging.getLogger(__name__)


def main(params: Params, ranker: str, dataset: str) -> dict[str, float]:
    """Write `data/answers/<ranker>/<dataset>.parquet`, one row per question of `chat.splits`."""
    prompt = load_chat_prompt(prompt_path(params.chat.prompts.of_kind(params.datasets[dataset].kind)))
    # Endpoints do not publish their tokenizer; the local model's counts well enough for a budget.
    tokenizer = load_tokenizer(model_directory(params.chat.local_model))
    questions = load_dataset(dataset_directory(dataset), params.chat.splits)
    table = read_parquet(rankings_file(ranker, dataset), ["question_id", "ranking", "probabilities"])
    probabilities = column_by(table, "question_id", "probabilities")
    rankings = {
        name: keep_probable(ranking, probabilities[name], params.chat.min_score)
        for name, ranking in column_by(table, "question_id", "ranking").items()
    }
    bm25 = params.retrieval.bm25
    requests = build_requests(questions, rankings, prompt, tokenizer, params.chat, bm25, params.seed)
    answers = ask_working_llm([item.request for item in requests], params.chat, cache_directory("answers"), params.seed)
    rows = list(read_answers(requests, answers, prompt.form))
    write_parquet(answers_file(ranker, dataset), rows, ANSWERS_SCHEMA)
    figures = summarize_answers(rows)
    logger.info(
        "%d answers from %.1f sessions each; %d ended at chat.max_tokens, %d were refused",
        figures["questions"],
        figures["context_sessions_mean"],
        figures["answers_cut"],
        figures["answers_left_out"],
    )
    return figures


if __name__ == "__main__":
    run_stage(main)

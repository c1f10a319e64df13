"""Let the working LLM answer from the top-ranked sessions: python -m stages.chat <ranker> <dataset>."""

import logging
from statistics import fmean
from typing import Any

import pyarrow as pa

from memsifter.chat.context import PreparedQuestion, prepare_questions
from memsifter.chat.prompt import extract_answer, load_chat_prompt
from memsifter.chat.reply import Refusal
from memsifter.chat.server import ask_working_llm
from memsifter.command import run_stage
from memsifter.corpus.store import load_dataset
from memsifter.io.files import column_by, read_parquet, write_parquet
from memsifter.io.paths import answers_file, cache_directory, dataset_directory, model_directory, rankings_file
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer
from memsifter.metrics.answers import answer_metrics
from memsifter.params import Params

logger = logging.getLogger(__name__)

SCORES = ("exact_match", "token_f1", "bleu", "rouge_l")
ANSWERS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("answer", pa.string()),
        ("response", pa.string()),
        ("context_session_ids", pa.list_(pa.string())),
        ("context_tokens", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("scores", pa.struct([(name, pa.float64()) for name in SCORES])),
        ("refusal", pa.string()),
    ]
)


def main(params: Params, ranker: str, dataset: str) -> dict[str, float]:
    """Write `data/answers/<ranker>/<dataset>.parquet`, one row per question of `chat.splits`."""
    prompt = load_chat_prompt(prompt_path(params.chat.prompts.of_kind(params.datasets[dataset].kind)))
    # An endpoint's tokenizer is not to be had; the local model's counts well enough for a budget.
    tokenizer = load_tokenizer(model_directory(params.chat.local_model))
    questions = load_dataset(dataset_directory(dataset), params.chat.splits)
    table = read_parquet(rankings_file(ranker, dataset), ["question_id", "ranking"])
    rankings = column_by(table, "question_id", "ranking")
    prepared = prepare_questions(questions, rankings, prompt, tokenizer, params.chat, params.seed)
    answers = ask_working_llm([item.request for item in prepared], params.chat, cache_directory("answers"), params.seed)
    rows: list[dict[str, Any]] = []
    for item, answer in zip(prepared, answers, strict=True):
        if isinstance(answer, Refusal):
            logger.warning("question %r is left out: %s", item.question.question_id, answer.reason)
            rows.append(_describe_refusal(item, answer))
            continue
        text = extract_answer(answer.text, prompt.form)
        rows.append(
            {
                "question_id": item.question.question_id,
                "answer": text,
                "response": answer.text,
                "context_session_ids": list(item.context.session_ids),
                "context_tokens": item.context.tokens,
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "finish_reason": answer.finish_reason,
                "scores": answer_metrics(text, item.question.answer),
                "refusal": None,
            }
        )
    write_parquet(answers_file(ranker, dataset), rows, ANSWERS_SCHEMA)
    cut = sum(row["finish_reason"] == "length" for row in rows)
    answered = [row for row in rows if row["refusal"] is None]
    logger.info("%d answers; %d ended at chat.max_tokens", len(answered), cut)
    return {
        "questions": len(rows),
        "answers_cut": cut,
        "answers_left_out": len(rows) - len(answered),
        "context_sessions_mean": fmean(len(row["context_session_ids"]) for row in rows),
        "context_tokens_mean": fmean(row["context_tokens"] for row in rows),
        **{name: fmean(row["scores"][name] for row in answered) for name in SCORES},
    }


def _describe_refusal(item: PreparedQuestion, refusal: Refusal) -> dict[str, Any]:
    """The row of a question that the working LLM will not answer: it has no answer and no score."""
    row: dict[str, Any] = dict.fromkeys(ANSWERS_SCHEMA.names)
    return row | {
        "question_id": item.question.question_id,
        "context_session_ids": list(item.context.session_ids),
        "context_tokens": item.context.tokens,
        "scores": dict.fromkeys(SCORES),
        "refusal": refusal.reason,
    }


if __name__ == "__main__":
    run_stage(main)

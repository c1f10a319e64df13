"""The answers file: what the working LLM answered to each question, and how well by the reference."""

import logging
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa

from memsifter.chat.context import QuestionRequest
from memsifter.chat.prompt import Form, extract_answer
from memsifter.chat.reply import Answer, Refusal
from memsifter.metrics.answers import ANSWER_METRICS, answer_metrics

logger = logging.getLogger(__name__)

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
        ("scores", pa.struct([(name, pa.float64()) for name in ANSWER_METRICS])),
        ("refusal", pa.string()),
    ]
)


def read_answers(
    requests: Sequence[QuestionRequest], answers: Sequence[Answer | Refusal], form: Form
) -> Iterator[dict[str, Any]]:
    """Rows of the answers file, one per question; a refused one has no answer, no score, and the reason in `refusal`.

    Args:
        requests: the questions with their contexts.
        answers: to these requests, in the same order.
        form: of the prompt.
    """
    for item, answer in zip(requests, answers, strict=True):
        row: dict[str, Any] = dict.fromkeys(ANSWERS_SCHEMA.names)
        row |= {
            "question_id": item.question.question_id,
            "context_session_ids": list(item.context.session_ids),
            "context_tokens": item.context.tokens,
        }
        if isinstance(answer, Refusal):
            logger.warning("question %r is left out: %s", item.question.question_id, answer.reason)
            yield row | {"scores": dict.fromkeys(ANSWER_METRICS), "refusal": answer.reason}
            continue
        text = extract_answer(answer.text, form)
        yield row | {
            "answer": text,
            "response": answer.text,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "finish_reason": answer.finish_reason,
            "scores": answer_metrics(text, item.question.answer, item.question.category),
        }


def summarize_answers(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Figures of a run: questions, answers that the length limit cut or that were refused, and means."""
    return {
        "questions": len(rows),
        "answers_cut": sum(row["finish_reason"] == "length" for row in rows),
        "answers_left_out": sum(row["refusal"] is not None for row in rows),
        "context_sessions_mean": fmean(len(row["context_session_ids"]) for row in rows),
        "context_tokens_mean": fmean(row["context_tokens"] for row in rows),
        **{
            name: fmean(defined)
            for name in ANSWER_METRICS
            if (defined := [row["scores"][name] for row in rows if row["scores"][name] is not None])
        },
    }

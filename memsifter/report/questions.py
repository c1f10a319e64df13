"""The data of the question browser: what every ranker made of every question, and the sessions it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex, load_dataset
from memsifter.errors import MemSifterError
from memsifter.io.files import column_by, read_parquet
from memsifter.io.paths import answers_file, dataset_directory, orders_file, rankings_file, results_directory
from memsifter.metrics.results import ORDERS_FOLDER, read_metric
from memsifter.metrics.retrieval import order_by_score
from memsifter.metrics.summary import COMPARED, order_rankers
from memsifter.params import Params
from memsifter.report.failures import Outcome, classify, explain

# A page must stay one that a browser opens at once. What is left out is said on the page.
MAX_QUESTIONS = 300
MAX_SESSION_CHARACTERS = 6000
SHOWN_SESSIONS = 10

_SCORES = {"token_f1": "F1", "exact_match": "EM", "abstention": "abstained", "judge": "judge"}


@dataclass(frozen=True)
class Ranker:
    """What one ranker and the working LLM wrote about a dataset, and the metrics of that, by question id."""

    name: str
    rankings: Mapping[str, Mapping[str, Any]]
    answers: Mapping[str, Mapping[str, Any]]
    results: Mapping[str, Mapping[str, float | None]]


def describe_questions(params: Params) -> list[dict[str, Any]]:
    """The evaluated questions of every dataset as plain values for the page.

    Of more than `MAX_QUESTIONS`, those with the lowest NDCG of the last ranker are kept.

    Raises:
        MemSifterError: an out is missing, or lacks a question.
    """
    return [_describe_dataset(params, name) for name in params.matrix.datasets]


def _describe_dataset(params: Params, name: str) -> dict[str, Any]:
    data = load_dataset(dataset_directory(name), [params.evaluate.split])
    metric = next((metric for metric in COMPARED if int(metric.rpartition("_")[2]) in params.evaluate.ks), "mrr")
    coarse_ndcg = read_metric(results_directory(ORDERS_FOLDER, name), "coarse", metric)
    rankers = [_read_ranker(ranker, name) for ranker in order_rankers(params.matrix.rankers, params.rounds)]
    scores = column_by(read_parquet(orders_file(name), ["question_id", "coarse"]), "question_id", "coarse")
    kept = set(_keep_worst(data.questions, rankers[-1], metric))
    rows: list[dict[str, Any]] = []
    needed: dict[str, dict[str, Any]] = {}
    for question in data.questions:
        if question.question_id in kept:
            index = data.haystack_of(question)
            order = order_by_score(scores[question.question_id])
            coarse = [index.session_ids[place] for place in order]
            row = _describe_question(question, coarse_ndcg.get(question.question_id))
            row["rankers"] = [
                _describe_ranker(ranker, question, coarse, row["coarse_ndcg"], metric) for ranker in rankers
            ]
            rows.append(row)
            shown = {item["id"] for ranker in row["rankers"] for item in ranker["ranking"]} | set(row["gold"])
            needed |= _sessions(data, index, shown)
    return {
        "name": name,
        "metric": metric.replace("_at_", "@").upper(),
        "rankers": [ranker.name for ranker in rankers],
        "omitted": len(data.questions) - len(kept),
        "questions": rows,
        "sessions": needed,
    }


def _keep_worst(questions: Sequence[Question], ranker: Ranker, metric: str) -> list[str]:
    """The ids of at most `MAX_QUESTIONS` questions, those that the ranker did worst on first."""
    values = {question.question_id: _value(ranker, question.question_id, metric) for question in questions}
    # A question without gold sessions has no such metric, and nothing to explain.
    defined = {name: 1.0 if value is None else value for name, value in values.items()}
    return sorted(defined, key=lambda name: defined[name])[:MAX_QUESTIONS]


def _read_ranker(ranker: str, dataset: str) -> Ranker:
    rankings = read_parquet(rankings_file(ranker, dataset)).to_pylist()
    answers = read_parquet(answers_file(ranker, dataset)).to_pylist()
    results = read_parquet(results_directory(ranker, dataset) / "questions.parquet").to_pylist()
    return Ranker(
        ranker,
        {row["question_id"]: row for row in rankings},
        {row["question_id"]: row for row in answers},
        {row["question_id"]: row for row in results},
    )


def _describe_question(question: Question, coarse_ndcg: float | None) -> dict[str, Any]:
    return {
        "id": question.question_id,
        "question": question.question,
        "date": question.question_date,
        "category": question.category,
        "answer": question.answer,
        "gold": list(question.answer_session_ids),
        "haystack": question.haystack_id,
        "coarse_ndcg": coarse_ndcg,
    }


def _describe_ranker(
    ranker: Ranker, question: Question, coarse: Sequence[str], coarse_ndcg: float | None, metric: str
) -> dict[str, Any]:
    name = question.question_id
    if any(name not in rows for rows in (ranker.rankings, ranker.answers, ranker.results)):
        raise MemSifterError(f"question {name!r} has no ranking, answer or metrics of {ranker.name}; run dvc repro")
    scores = {key: value for key in _SCORES if (value := _value(ranker, name, key)) is not None}
    ranked, answered = ranker.rankings[name], ranker.answers[name]
    outcome = Outcome(
        ranking=ranked["ranking"],
        coarse=coarse,
        candidates=ranked["candidates"],
        context=answered["context_session_ids"],
        parse_status=ranked["parse_status"],
        scores=scores,
        coarse_ndcg=coarse_ndcg,
        ndcg=_value(ranker, name, metric),
    )
    failures = classify(outcome, question.answer_session_ids)
    return {
        "response": ranked["response"],
        "parse_status": ranked["parse_status"],
        "answer": answered["answer"] if answered["refusal"] is None else f"(left out: {answered['refusal']})",
        "scores": {label: scores[key] for key, label in _SCORES.items() if key in scores},
        "ndcg": outcome.ndcg,
        "failures": failures,
        "reasons": {gold: explain(outcome, gold) for gold in question.answer_session_ids},
        "ranking": [
            {
                "id": session,
                "coarse": coarse.index(session) + 1,
                "candidate": outcome.candidates.index(session) + 1 if session in outcome.candidates else None,
                "read": session in outcome.context,
                "score": score,
                "probability": probability,
            }
            for session, score, probability in islice(
                zip(outcome.ranking, ranked["scores"], ranked["probabilities"], strict=True), SHOWN_SESSIONS
            )
        ],
    }


def _value(ranker: Ranker, question: str, metric: str) -> float | None:
    """A metric of one question; None where it is not defined."""
    return ranker.results.get(question, {}).get(metric)


def _sessions(data: Dataset, index: HaystackIndex, shown: set[str]) -> dict[str, dict[str, Any]]:
    """The texts that a question's page shows, by haystack and session id."""
    parts = zip(index.session_ids, index.session_keys, index.dates, strict=True)
    return {
        f"{index.haystack_id}/{name}": {"date": date, **_cut(data.text(key))}
        for name, key, date in parts
        if name in shown
    }


def _cut(text: str) -> dict[str, Any]:
    return {"text": text[:MAX_SESSION_CHARACTERS], "cut": max(0, len(text) - MAX_SESSION_CHARACTERS)}

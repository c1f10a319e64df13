"""The data of the question browser: what every ranker made of every question, and the sessions it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset, HaystackIndex, load_dataset
from memsifter.errors import MemSifterError
from memsifter.io.files import read_parquet
from memsifter.io.paths import answers_file, dataset_directory, rankings_file, results_directory
from memsifter.metrics.results import ORDERS_FOLDER, read_metric
from memsifter.metrics.summary import COMPARED, order_rankers
from memsifter.params import Params
from memsifter.report.failures import Outcome, classify, explain
from memsifter.report.steps import CoarseSteps, ShowSessions, ranker_views

# A page must stay one that a browser opens at once. What is left out is said on the page.
MAX_QUESTIONS = 300
MAX_SESSION_CHARACTERS = 6000
MAX_EXCERPT_CHARACTERS = 2000
SHOWN_SESSIONS = 10

_SCORES = {"token_f1": "F1", "exact_match": "EM", "abstention": "abstained", "judge": "judge"}


@dataclass(frozen=True)
class Ranker:
    """What one ranker and the working LLM wrote about a dataset, and the metrics of that, by question id."""

    name: str
    rankings: Mapping[str, Mapping[str, Any]]
    answers: Mapping[str, Mapping[str, Any]]
    results: Mapping[str, Mapping[str, float | None]]

    @property
    def reads_sessions(self) -> bool:
        """Whether it is a model, not a coarse order that stands in for one."""
        return any(row["candidates"] for row in self.rankings.values())


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
    views = ranker_views(params, name, data, [ranker.name for ranker in rankers if ranker.reads_sessions])
    coarse = CoarseSteps(params, name)
    excerpts: dict[str, int] = {}  # each distinct one once: rankers and questions share many
    kept = set(_keep_worst(data.questions, rankers[-1], metric))
    rows: list[dict[str, Any]] = []
    needed: dict[str, dict[str, Any]] = {}
    for question in tqdm(data.questions, desc=f"questions of {name}", unit="question", disable=None):
        if question.question_id in kept:
            index = data.haystack_of(question)
            order = coarse.order(question, index)
            row = _describe_question(question, coarse_ndcg.get(question.question_id))
            row["rankers"] = [
                _describe_ranker(ranker, question, order, row["coarse_ndcg"], metric) for ranker in rankers
            ]
            for ranker in row["rankers"]:
                if ranker["name"] in views:
                    _add_excerpts(ranker["sessions"], views[ranker["name"]], question, excerpts)
            shown = {session for ranker in row["rankers"] for session in ranker["sessions"]}
            row["steps"] = coarse.describe(question, index, sorted(shown))
            rows.append(row)
            needed |= _sessions(data, index, shown)
    return {
        "name": name,
        "metric": metric.replace("_at_", "@").upper(),
        "rankers": [ranker.name for ranker in rankers],
        "methods": coarse.methods,
        "omitted": len(data.questions) - len(kept),
        "questions": rows,
        "sessions": needed,
        "excerpts": [_cut(text, MAX_EXCERPT_CHARACTERS) for text in excerpts],
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
    return {
        "name": ranker.name,
        "response": ranked["response"],
        "parse_status": ranked["parse_status"],
        "answer": answered["answer"] if answered["refusal"] is None else f"(left out: {answered['refusal']})",
        "scores": {label: scores[key] for key, label in _SCORES.items() if key in scores},
        "ndcg": outcome.ndcg,
        "failures": classify(outcome, question.answer_session_ids),
        "reasons": {gold: explain(outcome, gold) for gold in question.answer_session_ids},
        "candidates": len(outcome.candidates),
        "ranking": outcome.ranking[:SHOWN_SESSIONS],
        "sessions": _ranked_sessions(ranked, outcome, question),
    }


def _ranked_sessions(ranked: Mapping[str, Any], outcome: Outcome, question: Question) -> dict[str, dict[str, Any]]:
    """What became of the best sessions of a ranking and of the gold ones, by session id."""
    gold = set(question.answer_session_ids)
    parts = zip(outcome.ranking, ranked["scores"], ranked["probabilities"], strict=True)
    return {
        session: {
            "rank": rank,
            "candidate": _place(outcome.candidates, session),
            "own": _place(ranked["own_order"], session),
            "score": score,
            "probability": probability,
            "read": session in outcome.context,
        }
        for rank, (session, score, probability) in enumerate(parts, start=1)
        if rank <= SHOWN_SESSIONS or session in gold
    }


def _add_excerpts(
    sessions: Mapping[str, dict[str, Any]], show: ShowSessions, question: Question, excerpts: dict[str, int]
) -> None:
    """Give each candidate its `excerpt`: the number of the text that the ranker saw, None for the whole session."""
    candidates = [name for name, session in sessions.items() if session["candidate"]]
    for name, text in show(question, candidates).items():
        sessions[name]["excerpt"] = None if text is None else excerpts.setdefault(text, len(excerpts))


def _place(order: Sequence[str], session: str) -> int | None:
    """The place of a session, from 1; None where it has none."""
    return order.index(session) + 1 if session in order else None


def _value(ranker: Ranker, question: str, metric: str) -> float | None:
    """A metric of one question; None where it is not defined."""
    return ranker.results.get(question, {}).get(metric)


def _sessions(data: Dataset, index: HaystackIndex, shown: set[str]) -> dict[str, dict[str, Any]]:
    """The texts that a question's page shows, by haystack and session id."""
    parts = zip(index.session_ids, index.session_keys, index.dates, strict=True)
    return {
        f"{index.haystack_id}/{name}": {"date": date, **_cut(data.text(key), MAX_SESSION_CHARACTERS)}
        for name, key, date in parts
        if name in shown
    }


def _cut(text: str, limit: int) -> dict[str, Any]:
    return {"text": text[:limit], "cut": max(0, len(text) - limit)}

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from dvc.repo import Repo
from numpy.typing import NDArray

from memsifter.chat.answers import ANSWERS_SCHEMA
from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import write_dataset
from memsifter.io import paths
from memsifter.io.files import write_json, write_parquet, write_table, write_text
from memsifter.metrics.answers import answer_metrics
from memsifter.metrics.results import measure_rankings, write_results
from memsifter.metrics.summary import render_curve
from memsifter.params import METHODS, ORDERS, Params, parse_params
from memsifter.ranking.rows import RANKINGS_SCHEMA
from memsifter.ranking.weight import RankFusion, write_rank_fusion
from memsifter.retrieval.score_lists import ScoreLists
from memsifter.training.report import write_curve

PROJECT = Path(__file__).resolve().parents[2]
ATTACK = "</pre></script><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
SESSIONS = {"s1": "I adopted a cat.", "s2": f"Look at this: {ATTACK}", "s3": "It rained.", "s4": "I sold the car."}
QUESTIONS = {"right": ("Which pet?", "a cat", "s1"), "missed": (f"What was sold? {ATTACK}", "the car", "s4")}
# By ranker and question: the ranking, and the answer.
WRITTEN = {
    "base": {"right": ("s1 s2 s3 s4", "a cat"), "missed": ("s2 s1 s3 s4", ATTACK)},
    "round1": {"right": ("s1 s2 s3 s4", "a cat"), "missed": ("s4 s2 s1 s3", "the car")},
}
HISTORY = {
    0: {"val-core/sample/reward/mean@1": 0.2, "val-aux/sample/retrieval_part/mean@1": 0.2},
    1: {"critic/rewards/mean": 0.25},
    2: {"critic/rewards/mean": 0.5, "val-core/sample/reward/mean@1": 0.3, "val-aux/sample/retrieval_part/mean@1": 0.3},
}


@pytest.fixture(scope="session")
def attack() -> str:
    """A text of a session, a question and an answer that would change the page's title if it became HTML."""
    return ATTACK


def _param_values() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values["matrix"]["rankers"] = list(WRITTEN)
    values["retrieval"]["likelihood"]["datasets"] = ["sample"]
    return values


@pytest.fixture(scope="session")
def params() -> Params:
    """The default parameters, for the rankers of `WRITTEN` on the dataset `sample`, which a model read."""
    return parse_params(_param_values())


@pytest.fixture
def outs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A repository root with the outs of two questions: one that goes well, one whose gold session `base` misses.

    Its parameter says what is known of the questions: their `answer`, their `gold` session.
    """
    known: Sequence[str] = getattr(request, "param", ("answer", "gold"))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(PROJECT / "dvc.yaml", tmp_path)
    write_text(tmp_path / "params.yaml", yaml.safe_dump(_param_values()))
    Repo.init(str(tmp_path), no_scm=True).close()
    sessions = tuple(Session(name, "May 2023", (Turn("user", text),)) for name, text in SESSIONS.items())
    questions = [
        Question(name, "test", "h", text, "June 2023", answer * ("answer" in known), "single-hop", (gold,))
        for name, (text, answer, gold) in QUESTIONS.items()
    ]
    if "gold" not in known:
        questions = [replace(question, answer_session_ids=()) for question in questions]
    write_dataset([Haystack("h", sessions), *questions], paths.dataset_directory("sample"))
    scores = np.tile([4.0, 3.0, 2.0, 1.0], len(questions))
    offsets = np.arange(0, len(scores) + 1, 4)
    columns = {name: -scores if name == "lexical" else scores for name in ORDERS}
    write_table(paths.orders_file("sample"), ScoreLists(tuple(QUESTIONS), offsets, columns).to_table())
    nats = np.tile([-9.5, -12.25, np.nan, np.nan], len(QUESTIONS))
    _write_likelihoods(nats, offsets)
    coarse = measure_rankings(questions, {name: list(SESSIONS) for name in QUESTIONS}, [1, 5, 10])
    write_results(paths.results_directory("orders", "sample"), dict.fromkeys(("coarse", *METHODS), coarse), 100, 7)
    for ranker in WRITTEN:
        _write_ranker(ranker, questions)
    folders = {method: paths.results_directory(method, "sample") for method in ("orders", *WRITTEN)}
    write_text(tmp_path / "reports" / "retrieval.csv", render_curve({"sample": folders}))
    training = paths.training_report_directory("round1")
    write_curve(training / "curve.csv", HISTORY)
    gain = {"first": 0.2, "last": 0.3, "gain": 0.1, "gain_low": -0.1, "gain_high": 0.3}
    report = {"first_step": 0, "last_step": 2, "questions": 4, "reward": gain, "ndcg": gain, "well_formed": gain}
    write_json(training / "validation.json", report)
    return tmp_path


def _write_likelihoods(nats: NDArray[np.float64], offsets: NDArray[np.int64]) -> None:
    """The best two sessions of each question were read; null stands for the others."""
    values = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(nats, pa.float32(), from_pandas=True))
    table = pa.table({"question_id": list(QUESTIONS), "likelihood": values})
    write_table(paths.likelihoods_file("sample"), table)


def _write_ranker(ranker: str, questions: list[Question]) -> None:
    rankings: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for question in questions:
        ranking, answer = WRITTEN[ranker][question.question_id]
        ids = ranking.split()
        rankings.append(
            {
                "question_id": question.question_id,
                "candidates": ids[:3],
                "response": f"<think>{ids[0]} says so</think><ranking>1</ranking>",
                "ranking": ids,
                "scores": [-0.5, -1.0, -2.0, None],
                "probabilities": [0.6, 0.3, 0.1, None],
                "own_order": ids[:3],
                "parse_status": "ok",
                "prompt_tokens": 100,
                "response_tokens": 10,
            }
        )
        answers.append(
            {
                "question_id": question.question_id,
                "answer": answer,
                "response": answer,
                "context_session_ids": ids[:2],
                "context_tokens": 50,
                "prompt_tokens": 60,
                "completion_tokens": 5,
                "finish_reason": "stop",
                "scores": answer_metrics(answer, question.answer, question.category),
            }
        )
    write_parquet(paths.rankings_file(ranker, "sample"), rankings, RANKINGS_SCHEMA)
    write_rank_fusion(paths.rank_fusion_file(ranker, "sample"), RankFusion("fitted", 0.25, questions=12))
    write_parquet(paths.answers_file(ranker, "sample"), answers, ANSWERS_SCHEMA)
    by_name = {row["question_id"]: row["ranking"] for row in rankings}
    scores = {row["question_id"]: row["scores"] for row in answers}
    results = {ranker: measure_rankings(questions, by_name, [1, 5, 10], scores)}
    write_results(paths.results_directory(ranker, "sample"), results, 100, 7)

"""From the benchmarks' own files to the table: questions whose right answer is that it is not known."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from memsifter.corpus.records import require_valid
from memsifter.corpus.sessions import Question
from memsifter.datasets.locomo import CATEGORIES, LocomoReader
from memsifter.datasets.longmemeval import LongMemEvalReader
from memsifter.metrics.answers import answer_metrics
from memsifter.metrics.results import measure_rankings, summarize

LOCOMO = {
    "sample_id": "c1",
    "conversation": {
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [{"speaker": "Ada", "dia_id": "D1:1", "text": "I bought a red kayak."}],
    },
    "qa": [
        {"question": "What colour is Ada's kayak?", "answer": "red", "evidence": ["D1:1"], "category": 4},
        {"question": "And Ben's?", "adversarial_answer": "red", "evidence": ["D1:1"], "category": 5},
    ],
}
LONGMEMEVAL = {
    "question_type": "multi-session",
    "question_date": "2023/06/01 (Thu) 10:00",
    "haystack_dates": ["2023/05/20 (Sat) 02:11"],
    "haystack_session_ids": ["session_1"],
    "haystack_sessions": [[{"role": "user", "content": "I bought a red kayak."}]],
    "answer_session_ids": ["session_1"],
}


def read_locomo_questions(path: Path) -> list[Question]:
    path.write_text(json.dumps([LOCOMO]))
    records = require_valid(LocomoReader(categories=tuple(CATEGORIES)).read(path))
    return [record for record in records if isinstance(record, Question)]


def read_longmemeval_questions(path: Path) -> list[Question]:
    rows = [
        {**LONGMEMEVAL, "question_id": "q1", "question": "What colour is my kayak?", "answer": "red"},
        {**LONGMEMEVAL, "question_id": "q2_abs", "question": "And my car?", "answer": "You did not mention a car."},
    ]
    path.write_text(json.dumps(rows))
    records = require_valid(LongMemEvalReader().read(path))
    return [record for record in records if isinstance(record, Question)]


def means(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Mean and count of the answers' metrics over all questions."""
    scores = {
        question.question_id: answer_metrics(answer, question.answer, question.category)
        for question, answer in zip(questions, answers, strict=True)
    }
    rankings = {question.question_id: ["session_1"] for question in questions}
    table = summarize(measure_rankings(questions, rankings, [1], scores), samples=100, seed=1)
    overall = table[table["category"] == "all"]
    return {
        row.metric: (row.mean, row.count) for row in overall.itertuples() if row.metric in ("token_f1", "abstention")
    }


@pytest.mark.parametrize("read", [read_locomo_questions, read_longmemeval_questions])
@pytest.mark.parametrize(("says", "abstained"), [("I do not know", 1.0), ("red", 0.0), ("", 0.0)])
def test_only_saying_so_counts_and_f1_is_over_the_other_questions(
    read: Callable[[Path], list[Question]], says: str, abstained: float, tmp_path: Path
) -> None:
    questions = read(tmp_path / "source.json")
    assert means(questions, ["red", says]) == {"token_f1": (1.0, 1), "abstention": (abstained, 1)}

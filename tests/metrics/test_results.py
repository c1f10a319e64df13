"""Results on disk and the summary that is made of them."""

import csv
import io
from pathlib import Path

import pytest

from memsifter.corpus.sessions import Question
from memsifter.errors import MemSifterError
from memsifter.io.files import read_json
from memsifter.metrics.evaluation import measure_rankings
from memsifter.metrics.report import render_curve, render_summary
from memsifter.metrics.results import read_metric, read_table, write_results

SESSIONS = ("a", "b", "c")


def question(name: str, gold: tuple[str, ...], category: str = "easy") -> Question:
    return Question(name, "test", "h", "Who?", "", "Ada", category, gold)


QUESTIONS = [question("q1", ("a",)), question("q2", ("c",), "hard"), question("q3", ())]
COARSE = {name: list(SESSIONS) for name in ("q1", "q2", "q3")}
RANKED = {name: ["c", "a", "b"] for name in ("q1", "q2", "q3")}
SCORES = {"q1": {"token_f1": 1.0}, "q2": {"token_f1": 0.0}, "q3": {"token_f1": 0.5}}


def test_a_question_without_gold_counts_for_its_answer_only() -> None:
    results = measure_rankings(QUESTIONS, RANKED, [1, 2], SCORES)
    assert results[0].values["recall_at_1"] == 0.0
    assert results[0].values["recall_at_2"] == 1.0
    assert results[2].values == {"token_f1": 0.5}


def test_a_missing_ranking_or_answer_is_an_error() -> None:
    with pytest.raises(MemSifterError, match=r"'q1' has no ranking"):
        measure_rankings(QUESTIONS, {}, [1])
    with pytest.raises(MemSifterError, match=r"'q3' has no answer"):
        measure_rankings(QUESTIONS, RANKED, [1], {"q1": {}, "q2": {}})


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    folders = {"coarse": tmp_path / "coarse", "base": tmp_path / "base"}
    coarse = measure_rankings(QUESTIONS, COARSE, [1, 10])
    write_results(folders["coarse"], {"coarse": coarse, "dense": coarse}, samples=200, seed=1)
    write_results(folders["base"], {"base": measure_rankings(QUESTIONS, RANKED, [1, 10], SCORES)}, samples=200, seed=1)
    return folders


def test_what_is_written_is_what_is_read(folders: dict[str, Path]) -> None:
    metrics = read_json(folders["base"] / "metrics.json")
    assert metrics["token_f1"] == pytest.approx(0.5)
    assert metrics["recall_at_1"] == pytest.approx(0.5), "q3 has no gold and does not count"
    assert read_metric(folders["base"], "base", "recall_at_1") == {"q1": 0.0, "q2": 1.0}
    table = read_table(folders["base"])["base"]
    counts = {(row.category, row.metric): row.count for row in table}
    assert counts["all", "token_f1"] == 3
    assert counts["all", "recall_at_1"] == 2
    assert counts["hard", "recall_at_1"] == 1
    assert all(row.low <= row.mean <= row.high for row in table)


def test_writing_twice_gives_the_same_bytes(folders: dict[str, Path], tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_results(again, {"base": measure_rankings(QUESTIONS, RANKED, [1, 10], SCORES)}, samples=200, seed=1)
    for name in ("metrics.json", "table.csv", "questions.parquet"):
        assert (again / name).read_bytes() == (folders["base"] / name).read_bytes()


def test_the_summary_compares_all_methods(folders: dict[str, Path]) -> None:
    summary = render_summary({"toy": folders}, samples=200, seed=1)
    assert "## toy: 3 questions" in summary
    assert [line.split("|")[1].strip() for line in summary.splitlines() if line.startswith("| ")] == [
        "method",
        "dense",
        "coarse",
        "base",
    ]
    # q1 falls from rank 1 to 2, q2 rises from 3 to 1: -(1 - .631) + (1 - .5), over two questions.
    assert "NDCG@10 of `base` minus `coarse`: +0.065" in summary


def test_the_curve_has_a_row_per_method_and_cutoff(folders: dict[str, Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(render_curve({"toy": folders}))))
    assert [(row["method"], row["k"]) for row in rows] == [
        (method, k) for method in ("dense", "coarse", "base") for k in ("1", "10")
    ]
    assert float(rows[-1]["recall"]) == 1.0

"""Results per question, the table that is made of them, and both on disk."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memsifter.corpus.sessions import Question
from memsifter.errors import MemSifterError
from memsifter.io.files import read_json
from memsifter.metrics.bootstrap import bootstrap_interval
from memsifter.metrics.results import (
    compare_methods,
    count_questions,
    measure_rankings,
    read_metric,
    read_table,
    summarize,
    write_results,
)


def question(name: str, gold: tuple[str, ...], category: str = "easy") -> Question:
    return Question(name, "test", "h", "Who?", "", "Ada", category, gold)


QUESTIONS = [question("q1", ("a",)), question("q2", ("c",), "hard"), question("q3", ())]
COARSE = {name: ["a", "b", "c"] for name in ("q1", "q2", "q3")}
RANKED = {name: ["c", "a", "b"] for name in ("q1", "q2", "q3")}
SCORES: dict[str, dict[str, float | None]] = {
    "q1": {"token_f1": 1.0, "abstention": None},
    "q2": {"token_f1": 0.0, "abstention": None},
    "q3": {"token_f1": None, "abstention": 1.0},
}


def frame(*rows: tuple[str, str, dict[str, float]]) -> pd.DataFrame:
    return pd.DataFrame([{"question_id": name, "category": category, **values} for name, category, values in rows])


RESULTS = frame(
    ("q1", "temporal", {"token_f1": 0.2}),  # no gold sessions: no retrieval metric
    ("q2", "multi-hop", {"mrr": 1.0, "token_f1": 0.8}),
    ("q3", "temporal", {"mrr": 0.5, "token_f1": 0.5}),
    ("q4", "open", {"token_f1": 0.0}),
)


def test_a_metric_that_is_not_defined_for_a_question_is_missing() -> None:
    results = measure_rankings(QUESTIONS, RANKED, [1, 2], SCORES).set_index("question_id")
    assert results["recall_at_1"].dropna().to_dict() == {"q1": 0.0, "q2": 1.0}
    assert results["recall_all_at_2"].dropna().to_dict() == {"q1": 1.0, "q2": 1.0}
    assert results["token_f1"].dropna().to_dict() == {"q1": 1.0, "q2": 0.0}
    assert results["abstention"].dropna().to_dict() == {"q3": 1.0}


def test_a_missing_ranking_or_answer_is_an_error() -> None:
    with pytest.raises(MemSifterError, match=r"'q1' has no ranking"):
        measure_rankings(QUESTIONS, {}, [1])
    with pytest.raises(MemSifterError, match=r"'q3' has no answer"):
        measure_rankings(QUESTIONS, RANKED, [1], {"q1": {}, "q2": {}})


def test_a_score_that_is_no_number_is_not_taken_for_one_that_is_not_defined() -> None:
    with pytest.raises(MemSifterError, match=r"'q3': judge is nan"):
        measure_rankings(QUESTIONS, RANKED, [1], {"q1": {}, "q2": {}, "q3": {"judge": float("nan")}})


def test_all_questions_first_then_categories_in_order() -> None:
    table = summarize(RESULTS, samples=100, seed=0)
    assert table[["category", "metric", "count"]].values.tolist() == [
        ["all", "token_f1", 4],
        ["all", "mrr", 2],
        ["multi-hop", "token_f1", 1],
        ["multi-hop", "mrr", 1],
        ["open", "token_f1", 1],
        ["temporal", "token_f1", 2],
        ["temporal", "mrr", 1],
    ]


def test_a_missing_metric_is_left_out_of_the_mean() -> None:
    means = summarize(RESULTS, samples=100, seed=0).set_index(["category", "metric"])["mean"]
    assert means["all", "mrr"] == pytest.approx(0.75)
    assert means["all", "token_f1"] == pytest.approx(0.375)
    assert means["temporal", "token_f1"] == pytest.approx(0.35)


def test_intervals_are_those_of_the_bootstrap() -> None:
    interval = bootstrap_interval([0.2, 0.8, 0.5, 0.0], samples=100, seed=3)
    first = summarize(RESULTS, samples=100, seed=3).iloc[0]
    assert tuple(first[["mean", "low", "high"]]) == (interval.mean, interval.low, interval.high)


def test_a_row_does_not_depend_on_the_other_metrics() -> None:
    whole = summarize(RESULTS, samples=100, seed=0)
    only_f1 = summarize(RESULTS.drop(columns="mrr"), samples=100, seed=0)
    pd.testing.assert_frame_equal(only_f1, whole[whole["metric"] == "token_f1"].reset_index(drop=True))


def test_unusable_results_are_refused() -> None:
    with pytest.raises(ValueError, match="no question results"):
        summarize(frame(), samples=100, seed=0)
    with pytest.raises(ValueError, match="'q1' appears twice"):
        summarize(frame(("q1", "open", {}), ("q1", "open", {})), samples=100, seed=0)
    with pytest.raises(ValueError, match="stands for all questions"):
        summarize(frame(("q1", "all", {"mrr": 1.0})), samples=100, seed=0)
    with pytest.raises(ValueError, match="must be finite"):
        summarize(frame(("q1", "open", {"mrr": float("inf")})), samples=100, seed=0)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    folders = {"orders": tmp_path / "orders", "base": tmp_path / "base"}
    write_results(folders["orders"], {"coarse": measure_rankings(QUESTIONS, COARSE, [1, 10])}, samples=200, seed=1)
    write_results(folders["base"], {"base": measure_rankings(QUESTIONS, RANKED, [1, 10], SCORES)}, samples=200, seed=1)
    return folders


def test_what_is_written_is_what_is_read(folders: dict[str, Path]) -> None:
    written = summarize(measure_rankings(QUESTIONS, RANKED, [1, 10], SCORES), samples=200, seed=1)
    table = read_table(folders["base"])
    pd.testing.assert_frame_equal(table.drop(columns="method"), written, check_exact=True)
    assert set(table["method"]) == {"base"}
    counts = table.set_index(["category", "metric"])["count"]
    assert counts["all", "token_f1"] == counts["all", "recall_at_1"] == 2, "q3 has no gold and no reference"
    assert counts["hard", "recall_at_1"] == counts["easy", "abstention"] == 1
    assert count_questions(folders["base"]) == 3
    assert read_metric(folders["base"], "base", "recall_at_1") == {"q1": 0.0, "q2": 1.0}
    assert read_metric(folders["orders"], "coarse", "token_f1") == {}, "a metric that no question has"


def test_headlines_are_means_over_the_questions_that_have_the_metric(folders: dict[str, Path]) -> None:
    metrics = read_json(folders["base"] / "metrics.json")
    assert metrics == pytest.approx(
        {
            "ndcg_at_1": 0.5,
            "ndcg_at_10": 0.8154648767857288,
            "recall_at_1": 0.5,
            "recall_at_10": 1.0,
            "recall_all_at_1": 0.5,
            "recall_all_at_10": 1.0,
            "hit_at_1": 0.5,
            "hit_at_10": 1.0,
            "mrr": 0.75,
            "map": 0.75,
            "token_f1": 0.5,
            "abstention": 1.0,
        }
    )


def test_questions_are_stored_with_a_schema_of_their_own(folders: dict[str, Path]) -> None:
    schema = pq.read_schema(folders["base"] / "questions.parquet")
    assert schema.metadata is None, "pandas leaves no metadata"
    assert schema.names[:4] == ["method", "question_id", "category", "ndcg_at_1"]
    assert schema.types == [pa.string()] * 3 + [pa.float64()] * (len(schema) - 3)
    assert pq.read_table(folders["base"] / "questions.parquet")["token_f1"].null_count == 1


def test_writing_twice_gives_the_same_bytes(folders: dict[str, Path], tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_results(again, {"base": measure_rankings(QUESTIONS, RANKED, [1, 10], SCORES)}, samples=200, seed=1)
    for name in ("metrics.json", "table.csv", "questions.parquet"):
        assert (again / name).read_bytes() == (folders["base"] / name).read_bytes()


def test_categories_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    names = ["NA", "7", 'a "b", c', "null", ""]
    rows = frame(*((f"q{place}", name, {"mrr": 1.0}) for place, name in enumerate(names)))
    write_results(tmp_path, {"base": rows}, samples=100, seed=1)
    assert read_table(tmp_path)["category"].tolist() == ["all", *sorted(names)]


def test_methods_are_compared_question_by_question(folders: dict[str, Path]) -> None:
    interval = compare_methods(folders, "base", "coarse", "ndcg_at_10", samples=200, seed=1)
    # q1 falls from rank 1 to 2, q2 rises from 3 to 1: -(1 - .631) + (1 - .5), over two questions.
    assert interval.mean == pytest.approx(0.0654648767857287)
    write_results(folders["base"], {"base": measure_rankings(QUESTIONS[1:], RANKED, [1])}, samples=200, seed=1)
    with pytest.raises(MemSifterError, match="'q1' has no mrr"):
        compare_methods(folders, "base", "coarse", "mrr", samples=200, seed=1)


def test_a_category_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    rows = frame(("q1", "=1+1", {"mrr": -0.5}), ("q2", "'-x", {"mrr": 1.0}))
    write_results(tmp_path, {"base": rows}, samples=100, seed=1)
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["all", "''-x", "'=1+1"]
    assert lines[3].split(",")[3] == "-0.5"
    assert read_table(tmp_path)["category"].tolist() == ["all", "'-x", "=1+1"]

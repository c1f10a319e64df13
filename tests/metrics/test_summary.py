"""The Markdown summary and the curves over the cut-offs."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from memsifter.corpus.sessions import Question
from memsifter.errors import MemSifterError
from memsifter.metrics.results import FUSION_WEIGHT, compare_methods, measure_rankings, write_results
from memsifter.metrics.summary import order_rankers, read_methods, render_curve, render_summary, undefined_metrics

GOLD = {"q1": ("a",), "q2": ("c",), "q3": ()}
METHODS = ("dense", "coarse", "base")


def write(folder: Path, methods: Sequence[str], ranking: str, scores: dict[str, dict[str, float | None]]) -> Path:
    questions = [Question(name, "test", "h", "Who?", "", "Ada", "easy", gold) for name, gold in GOLD.items()]
    frame = measure_rankings(questions, {name: list(ranking) for name in GOLD}, [1, 10], scores or None)
    write_results(folder, dict.fromkeys(methods, frame), samples=200, seed=1)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    scores: dict[str, dict[str, float | None]] = {
        "q1": {"token_f1": 1.0},
        "q2": {"token_f1": 0.0},
        "q3": {"token_f1": None, "abstention": 1.0},
    }
    return {
        "orders": write(tmp_path / "orders", ["coarse", "dense"], "abc", {}),
        "base": write(tmp_path / "base", ["base"], "cab", scores),
    }


def test_methods_stand_in_the_order_of_the_pipeline(folders: dict[str, Path]) -> None:
    assert tuple(read_methods(folders)["method"].unique()) == METHODS


def test_rounds_follow_the_rankers_that_are_not_trained_here() -> None:
    assert order_rankers(["round2", "base", "round1", "other"], ["round1", "round2", "round3"]) == [
        *("base", "other", "round1", "round2"),
    ]


def test_the_summary_compares_all_methods(folders: dict[str, Path]) -> None:
    summary = render_summary({"toy": folders}, samples=200, seed=1)
    assert "## toy: 3 questions" in summary
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in summary.splitlines() if line[:2] == "| "]
    assert [row[0] for row in rows] == ["method", *METHODS]
    assert rows[0] == [
        *("method", "NDCG@1", "NDCG@10", "recall@10", "recall_all@10", "hit@10", "answer F1", "abstained")
    ]
    assert rows[1][6:] == ["", ""], "the coarse filter answers nothing"
    assert rows[3][7] == "1.000 [1.00 1.00]"
    # q1 falls from rank 1 to 2, q2 rises from 3 to 1: -(1 - .631) + (1 - .5), over two questions.
    assert "NDCG@10 of `base` minus `coarse`: +0.065" in summary


def test_the_summary_says_which_metrics_are_not_defined_for_all_questions(folders: dict[str, Path]) -> None:
    summary = render_summary({"toy": folders}, samples=200, seed=1)
    assert "NDCG@1, NDCG@10, recall@10, recall_all@10, hit@10, answer F1: defined for 2 of 3 questions." in summary
    assert "abstained: defined for 1 of 3 questions." in summary


def test_methods_that_answered_fewer_questions_than_others_are_named() -> None:
    rows = [("coarse", "ndcg_at_10", 3), ("base", "ndcg_at_10", 3), ("coarse", "token_f1", 3), ("base", "token_f1", 1)]
    overall = pd.DataFrame(rows, columns=["method", "metric", "count"])
    assert undefined_metrics(overall, ["ndcg_at_10", "token_f1"], 3) == [
        "answer F1 of `base`: defined for 1 of 3 questions."
    ]


def test_the_curve_has_a_row_per_method_and_cutoff(folders: dict[str, Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(render_curve({"toy": folders}))))
    assert [(row["method"], row["k"]) for row in rows] == [(method, k) for method in METHODS for k in ("1", "10")]
    assert float(rows[-1]["recall"]) == 1.0


def test_the_rows_of_all_datasets_go_by_method(folders: dict[str, Path], tmp_path: Path) -> None:
    more = folders | {"orders": write(tmp_path / "more", ["coarse", "fitted_likelihood", "dense"], "abc", {})}
    rows = csv.DictReader(io.StringIO(render_curve({"toy": folders, "read": more})))
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["dense", "fitted_likelihood", "coarse", "base"]


def test_without_gold_sessions_there_are_answers_to_compare_and_no_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GOLD, "q1", ())
    monkeypatch.setitem(GOLD, "q2", ())
    scores: dict[str, dict[str, float | None]] = {name: {"token_f1": 0.5} for name in GOLD}
    results = {
        "toy": {
            "orders": write(tmp_path / "orders", ["coarse", "dense"], "abc", {}),
            "base": write(tmp_path / "base", ["base"], "cab", scores),
        }
    }
    assert "| base     | .500 [.50 .50] |" in render_summary(results, samples=200, seed=1)
    assert render_curve(results) == "dataset,method,k,ndcg,recall\n"


def test_an_order_that_is_a_ranker_too_has_one_row_with_answers(tmp_path: Path, folders: dict[str, Path]) -> None:
    scores: dict[str, dict[str, float | None]] = {name: {"token_f1": 0.5} for name in GOLD}
    with_coarse = {
        "orders": folders["orders"],
        "base": folders["base"],
        "coarse": write(tmp_path / "coarse", ["coarse"], "abc", scores),
    }
    assert tuple(read_methods(with_coarse)["method"].unique()) == METHODS, "in its place, not where the rankers stand"
    summary = render_summary({"toy": with_coarse}, samples=200, seed=1)
    rows = [line for line in summary.splitlines() if line.startswith("| coarse ")]
    assert len(rows) == 1
    assert ".500 [.50 .50]" in rows[0]
    assert "answer F1 of `base` minus `coarse`: " in summary
    assert "of `coarse` minus" not in summary


@pytest.mark.parametrize("answered", [("q1",), ()])
def test_without_a_question_that_both_have_answered_there_is_no_difference_between_answers(
    tmp_path: Path, folders: dict[str, Path], answered: tuple[str, ...]
) -> None:
    """A working LLM may refuse all that the other ranker's sessions let it answer."""
    refused: dict[str, dict[str, float | None]] = {name: {"token_f1": None} for name in GOLD}
    right: dict[str, dict[str, float | None]] = {name: {"token_f1": 1.0} for name in answered}
    coarse: dict[str, dict[str, float | None]] = {**refused, "q2": {"token_f1": 0.5}}
    both = {
        "orders": folders["orders"],
        "coarse": write(tmp_path / "coarse", ["coarse"], "abc", coarse),
        "base": write(tmp_path / "some", ["base"], "cab", refused | right),
    }
    summary = render_summary({"toy": both}, samples=200, seed=1)
    assert "NDCG@10 of `base` minus `coarse`" in summary
    assert "answer F1 of `base` minus" not in summary
    with pytest.raises(MemSifterError, match="no question has token_f1 in both coarse and base"):
        compare_methods(both, "base", "coarse", "token_f1", samples=200, seed=1)


def test_the_weight_of_the_ranker_is_told(tmp_path: Path, folders: dict[str, Path]) -> None:
    assert "Weight of the ranker's score" not in render_summary({"toy": folders}, samples=200, seed=1)
    frame = measure_rankings(
        [Question(name, "test", "h", "Who?", "", "Ada", "easy", gold) for name, gold in GOLD.items()],
        {name: list("cab") for name in GOLD},
        [1, 10],
    )
    write_results(tmp_path / "tuned", {"tuned": frame}, 200, 1, {FUSION_WEIGHT: 0.25})
    summary = render_summary({"toy": {**folders, "tuned": tmp_path / "tuned"}}, samples=200, seed=1)
    assert "(0: the coarse order stays): 0.25 in `tuned`." in summary

"""What the page says that each step saw of a session."""

import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.files import read_parquet, write_table
from memsifter.models.tiny import write_tiny_model
from memsifter.params import METHODS, Params
from memsifter.report import questions
from memsifter.report.questions import describe_questions


def described(params: Params, question: str = "missed") -> tuple[dict[str, Any], dict[str, Any]]:
    """The dataset and one of its questions as the page's script reads them."""
    (dataset,) = json.loads(json.dumps(describe_questions(params)))
    (found,) = [item for item in dataset["questions"] if item["id"] == question]
    return dataset, found


def with_views(params: Params, view: str, tokens: int | None) -> Params:
    """The parameters with another view for the ranker."""
    rank = params.rank.model_copy(update={"view": view, "session_tokens": tokens})
    return params.model_copy(update={"rank": rank})


@pytest.mark.usefixtures("outs")
def test_every_coarse_method_has_a_score_and_a_rank(params: Params) -> None:
    dataset, question = described(params)
    assert dataset["methods"] == [*METHODS, "coarse"]
    assert question["steps"]["s4"]["scores"] == [
        [1.0, 4] if method != "lexical" else [-1.0, 1] for method in dataset["methods"]
    ]


@pytest.mark.usefixtures("outs")
def test_a_session_was_read_with_a_likelihood_or_not_read(params: Params) -> None:
    _, question = described(params)
    assert {name: step["likelihood"] for name, step in question["steps"].items()} == {
        "s1": -9.5,
        "s2": -12.25,
        "s3": None,
        "s4": None,
    }
    unread = params.retrieval.likelihood.model_copy(update={"datasets": ()})
    retrieval = params.retrieval.model_copy(update={"likelihood": unread})
    dataset, question = described(params.model_copy(update={"retrieval": retrieval}))
    assert "fitted_likelihood" not in dataset["methods"]
    assert all("likelihood" not in step for step in question["steps"].values()), "no model read any"


@pytest.mark.usefixtures("outs")
def test_the_ranker_has_a_score_a_probability_and_its_own_order(params: Params) -> None:
    _, question = described(params)
    base, trained = question["rankers"]
    assert base["ranking"] == ["s2", "s1", "s3", "s4"]
    ranked = {"rank": 2, "candidate": 2, "own": 2, "score": -1.0, "probability": pytest.approx(0.3), "read": True}
    assert base["sessions"]["s1"] == ranked
    unseen = {"rank": 4, "candidate": None, "own": None, "score": None, "probability": None, "read": False}
    assert base["sessions"]["s4"] == unseen
    assert trained["sessions"]["s4"]["rank"] == 1


@pytest.mark.usefixtures("outs")
def test_a_gold_session_is_shown_however_far_down_it_stands(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "SHOWN_SESSIONS", 1)
    dataset, question = described(params)
    assert question["rankers"][0]["ranking"] == ["s2"]
    assert set(question["rankers"][0]["sessions"]) == {"s2", "s4"}
    assert {"h/s2", "h/s4"} <= set(dataset["sessions"])


@pytest.mark.usefixtures("outs")
def test_candidates_are_shown_as_the_ranker_saw_them(params: Params, attack: str) -> None:
    write_tiny_model(paths.model_directory("base"), seed=7)
    dataset, question = described(with_views(params, "head", 20))
    base, trained = question["rankers"]
    whole, shown = dataset["sessions"]["h/s2"]["text"], dataset["excerpts"][base["sessions"]["s2"]["excerpt"]]["text"]
    assert attack in whole
    assert whole.startswith(shown)
    assert 20 <= len(shown) < len(whole)
    assert "excerpt" not in base["sessions"]["s4"], "the ranker did not see it"
    assert all("excerpt" not in session for session in trained["sessions"].values()), "its model is not here"
    assert len({text["text"] for text in dataset["excerpts"]}) == len(dataset["excerpts"])


@pytest.mark.usefixtures("outs")
def test_a_session_that_was_seen_whole_stands_on_the_page_once(params: Params) -> None:
    write_tiny_model(paths.model_directory("base"), seed=7)
    dataset, question = described(with_views(params, "excerpt", 2000))
    base = question["rankers"][0]["sessions"]
    assert [base[name]["excerpt"] for name in ("s1", "s2", "s3")] == [None, None, None]
    assert dataset["excerpts"] == []


@pytest.mark.usefixtures("outs")
def test_long_excerpts_are_cut_and_say_so(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MAX_EXCERPT_CHARACTERS", 5)
    write_tiny_model(paths.model_directory("base"), seed=7)
    dataset, _ = described(with_views(params, "head", 20))
    assert dataset["excerpts"][0]["text"] == "user:"
    assert all(item["cut"] > 0 for item in dataset["excerpts"])


def test_orders_of_other_sessions_are_refused(outs: Path, params: Params) -> None:
    table = read_parquet(outs / "data/orders/sample.parquet")
    write_table(outs / "data/orders/sample.parquet", table.slice(0, 1))
    with pytest.raises(MemSifterError, match="its coarse scores are missing; repeat order"):
        described(params, "missed")

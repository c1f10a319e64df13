"""bench.likelihood_orders on a dataset of two questions whose table is computed by hand."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scored_datasets import RETRIEVAL, make_question, make_session

from bench import likelihood_orders
from memsifter.corpus.sessions import Haystack
from memsifter.corpus.store import write_dataset
from memsifter.fusion.combine import write_weights
from memsifter.fusion.fit import fit_fusion
from memsifter.io.files import write_parquet, write_table
from memsifter.likelihood.pool import LIKELIHOODS_SCHEMA
from memsifter.params import load_params
from memsifter.retrieval.score_lists import ScoreLists

Likelihoods = dict[str, list[float | None]]
Print = Callable[..., list[list[str]]]

PARAMS = RETRIEVAL.model_copy(
    update={
        "fit": RETRIEVAL.fit.model_copy(update={"default_weights": {"dense_chunk_max": 0.5, "likelihood": 1.0}}),
        "scores": ("dense_chunk_max", "length"),
    }
)
# q0 asks for c, q1 for b; each of three sessions. Standardised, a score that favours one session is 1.41, -0.71, -0.71.
DENSE = [3.0, 0.0, 0.0, 9.0, 6.0, 6.0]
LENGTH = [0.0, 1.0, 0.0, 0.0, 0.0, 5.0]
# In the sum: nats above the worst that was read, by 5. `zero` adds .2 to a of both questions; `trained` adds 2 to c of
# q0 and to a of q1.
ZERO: Likelihoods = {"q0": [-20.0, None, -21.0], "q1": [-20.0, None, -21.0], "unasked": [-1.0]}
TRAINED: Likelihoods = {"unasked": [-1.0], "q1": [-20.0, None, -30.0], "q0": [-30.0, None, -20.0]}
# Found at rank 2 and at rank 3: 1 / log2(3) = .631 and 1 / log2(4) = .5.


def write_likelihoods(path: Path, likelihoods: Likelihoods) -> None:
    rows = [{"question_id": name, "likelihood": values, "tokens": 9} for name, values in likelihoods.items()]
    write_parquet(path, rows, LIKELIHOODS_SCHEMA)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the dataset, its scores, the likelihoods of two models and weights that were fitted with each."""
    sessions = tuple(make_session(name, "", f"I am {name}") for name in "abc")
    questions = [
        make_question("q0", "h", "Who is c?", ("c",)),
        make_question("q1", "h", "Who is b?", ("b",)),
        make_question("without-gold", "h", "Who is d?"),
        make_question("other-split", "h", "Who is a?", ("a",), split="train"),
    ]
    write_dataset([Haystack("h", sessions), *questions], tmp_path / "toy")
    columns = {"dense_chunk_max": DENSE, "length": LENGTH}
    scores = ScoreLists(
        ("q0", "q1"), np.asarray([0, 3, 6]), {name: np.asarray(values) for name, values in columns.items()}
    )
    write_table(tmp_path / "scores.parquet", scores.to_table())
    write_likelihoods(tmp_path / "zero.parquet", ZERO)
    write_likelihoods(tmp_path / "trained.parquet", TRAINED)
    fitted = fit_fusion(None, PARAMS, likelihood=True)
    for name, weights in (
        ("zero", {"dense_chunk_max": 0.0, "length": 1.0, "likelihood": 0.0}),
        ("trained", {"dense_chunk_max": 0.0, "length": 0.0, "likelihood": 1.0}),
    ):
        write_weights(tmp_path / f"{name}.json", fitted, replace(fitted, weights=weights))
    params = load_params().model_copy(update={"retrieval": PARAMS})
    monkeypatch.setattr(likelihood_orders, "load_params", lambda: params)
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """The command in `folder`, with its dataset and its scores."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["likelihood_orders", "toy", "--scores", "scores.parquet", *arguments])
    likelihood_orders.main()


@pytest.fixture
def table(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Print:
    """Runs the command; the cells of each row that it prints."""

    def read(*arguments: str) -> list[list[str]]:
        run(folder, monkeypatch, *arguments)
        head, _, columns, rule, *rows = capsys.readouterr().out.splitlines()
        assert head == "2 questions", "without gold and of the other split do not count"
        assert set(rule) <= set("|:-")
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in (columns, *rows)]

    return read


def test_each_order_is_measured_and_compared_with_the_first_likelihood_s(table: Print) -> None:
    weights = ("--weights", "zero=zero.json", "trained=trained.json")
    columns, *rows = table("zero=zero.parquet", "trained=trained.parquet", *weights)
    assert columns == ["order", *(cell for k in (1, 5, 10) for cell in (f"NDCG@{k}", "minus zero"))]
    # Two questions: of their draws a quarter is twice the one, a quarter twice the other, so that the interval of two
    # different values ends at these.
    nothing, first, second = "0.000 [0.000, 0.000]", "0.500 [0.000, 1.000]", "0.500 [0.500, 0.500]"
    assert rows == [
        # q0 a c, then c a; q1 a c both times, whose gold session was not read: never found.
        ["`zero, alone`", nothing, "", *["0.315 [0.000, 0.631]", ""] * 2],
        ["`trained, alone`", first, "+0.500 [+0.000, +1.000]", *[first, "+0.185 [+0.000, +0.369]"] * 2],
        # q0 .91 -.35 -.35, then .71 -.35 1.65; q1 .91 -.35 -.35, then 2.71 -.35 -.35; equal ones stay as they stand.
        ["`zero, default weights`", nothing, "", *["0.565 [0.500, 0.631]", ""] * 2],
        [
            *("`trained, default weights`", first, "+0.500 [+0.000, +1.000]"),
            *["0.815 [0.631, 1.000]", "+0.250 [+0.000, +0.500]"] * 2,
        ],
        # q0 b a c and q1 c a b by the length alone; q0 c a b and q1 a b c by the likelihood alone.
        ["`zero, fitted weights`", nothing, "", *[second, ""] * 2],
        [
            *("`trained, fitted weights`", first, "+0.500 [+0.000, +1.000]"),
            *["0.815 [0.631, 1.000]", "+0.315 [+0.131, +0.500]"] * 2,
        ],
    ]


def test_fitted_weights_of_one_likelihood_are_compared_with_nothing(table: Print) -> None:
    files = ("zero=zero.parquet", "again=zero.parquet", "trained=trained.parquet")
    _, *rows = table(*files, "--weights", "trained=trained.json")
    assert [row[0] for row in rows] == [
        *(f"`{name}, {way}`" for way in ("alone", "default weights") for name in ("zero", "again", "trained")),
        "`trained, fitted weights`",
    ]
    assert rows[1] == [rows[1][0], *(cell for k in (1, 3, 5) for cell in (rows[0][k], "+0.000 [+0.000, +0.000]"))]
    assert rows[-1][2::2] == ["", "", ""]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["zero=zero.parquet", "lost=lost.parquet"], "lost.parquet: no such file; run the stage that writes it"),
        (["zero=zero.parquet", "s=scores.parquet"], "scores.parquet: its questions are not those of zero.parquet"),
        (["s=scores.parquet", "t=scores.parquet"], "scores.parquet: column(s) likelihood missing"),
        (["zero=zero.parquet", "odd=odd.parquet"], "odd.parquet: its questions are not those of zero.parquet: 'q1'"),
        (["zero=zero.parquet", "short=short.parquet"], "short.parquet: question 'q0' lacks its 3 sessions"),
        (["zero=zero.parquet"], "zero alone cannot be compared; give the NAME=FILE of another likelihood"),
        (["a=zero.parquet", "a=trained.parquet"], "'a' names two files; rename one"),
        (["a=zero.parquet", "b=zero.parquet", "--weights", "c=zero.json"], "--weights: 'c' is none of the likelihoods"),
        (["a=zero.parquet", "b=zero.parquet", "--weights", "a=more.json"], "column(s) speaker missing; found question"),
        (["a=zero.parquet", "b=zero.parquet", "--splits", "train"], "question 'other-split' of toy lacks its 3 scores"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    problem: str,
) -> None:
    write_likelihoods(folder / "odd.parquet", {"q0": ZERO["q0"], "unasked": ZERO["unasked"]})
    write_likelihoods(folder / "short.parquet", {**ZERO, "q0": [-1.0, None]})
    fitted = fit_fusion(None, PARAMS.model_copy(update={"scores": ("speaker",)}), likelihood=True)
    write_weights(folder / "more.json", fitted, fitted)
    with pytest.raises(SystemExit) as ended:
        run(folder, monkeypatch, *arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("memsifter: error: ")
    assert problem in err


def test_a_dataset_without_gold_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = (make_session("a", "", "Hello"),)
    write_dataset([Haystack("h", sessions), make_question("q0", "h", "Who?")], folder / "toy")
    with pytest.raises(SystemExit):
        run(folder, monkeypatch, "a=zero.parquet", "b=trained.parquet")
    assert "none of the questions has gold sessions" in capsys.readouterr().err


def test_a_file_without_a_name_is_a_usage_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        run(folder, monkeypatch, "zero.parquet")
    assert ended.value.code == 2

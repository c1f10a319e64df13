import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from memsifter import report
from memsifter.errors import MemSifterError
from memsifter.params import JudgeParams, LikelihoodFitParams, Params
from memsifter.report import questions, write_report
from memsifter.report.page import render_page
from memsifter.report.run import describe_run


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def browser_dom(page: Path, fragment: str = "") -> str:
    """The page as headless Chromium has it after its script ran."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium")
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", f"{page.as_uri()}{fragment}"]
    profile = f"--user-data-dir={page.parent / 'chromium'}"
    return subprocess.run([*command, profile], capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.usefixtures("outs")
def test_the_page_has_every_section_and_loads_nothing(params: Params) -> None:
    page = render_page(params)
    elements = Elements(page)
    sections = [attributes["id"] for tag, attributes in elements.tags if tag == "section"]
    assert sections == ["quality", "training", "questions", "cost", "run"]
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    assert not [tag for tag, attributes in elements.tags if loading & attributes.keys()]
    links = [str(attributes["href"]) for tag, attributes in elements.tags if tag == "a"]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not [tag for tag, _ in elements.tags if tag in {"link", "iframe", "object", "embed", "img"}]
    assert not re.search(r"url\((?!#)", page), "only parts of the same figure are referred to"
    assert "@import" not in page


def test_the_figures_are_those_of_the_results(outs: Path, params: Params) -> None:
    page = render_page(params)
    base = json.loads((outs / "results/base/sample/metrics.json").read_text())
    row = re.search(r"<tr><th>base</th>(.*?)</tr>", page, re.DOTALL)
    assert row
    shown = re.findall(r"<td>([\d.]+) ", row[1])
    retrieval = ("ndcg_at_1", "ndcg_at_10", "recall_at_10", "recall_all_at_10", "hit_at_10")
    expected = (*retrieval, "token_f1", "exact_match")
    assert shown == [f"{base[name]:.3f}" for name in expected]
    assert "<th>rank@base-sample</th><td>\N{EN DASH}</td>\n<td>2</td><td>200</td><td>20</td>" in page
    assert "+0.100 <small>-0.10 to +0.30</small>" in page
    fusion = "coarse score + 0.25 x the ranker&#39;s score, fitted on 12 train questions"
    assert f"<li>Rankings of <b>base</b>: {fusion}</li>" in page


@pytest.mark.usefixtures("outs")
@pytest.mark.parametrize(("outs", "shown"), [(("answer",), ["answer F1", "answer EM"]), ((), [])], indirect=["outs"])
def test_without_gold_sessions_or_answers_the_page_shows_what_there_is(params: Params, shown: list[str]) -> None:
    page = render_page(params)
    head = re.search(r"<tr><th>method</th>(.*?)</tr>", page, re.DOTALL)
    assert head
    assert re.findall(r"<th>(.*?)</th>", head[1]) == shown
    (dataset,) = questions.describe_questions(params)
    assert [row["coarse_ndcg"] for row in dataset["questions"]] == [None, None]


def test_the_page_is_written_where_it_is_looked_for(
    outs: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "load_params", lambda: params)
    write_report()
    write_report(tmp_path / "elsewhere.html")
    page = (outs / "reports" / "report.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    assert (tmp_path / "elsewhere.html").read_bytes() == page, "the same outs give the same bytes"


@pytest.mark.parametrize("target", ["folder", "file/report.html"])
def test_a_place_for_no_page_is_told_before_it_is_made(target: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(MemSifterError, match=f"{target}: no page can be written there"):
        write_report(tmp_path / target)


@pytest.mark.usefixtures("outs")
def test_every_model_that_worked_is_named(params: Params) -> None:
    rows = {model.name: model for model in describe_run(params).models}
    assert rows["base"].use == "ranker, working LLM, reader of the likelihood"
    fit = LikelihoodFitParams(datasets=("sample",), model="base")
    reading = params.retrieval.likelihood.model_copy(update={"model": "tuned", "fits": {"tuned": fit}})
    judge = JudgeParams(
        base_url="http://host/v1", model="judge-1", api_key_env="", concurrency=1, timeout_s=1.0, max_retries=1
    )
    changed = params.model_copy(
        update={
            "retrieval": params.retrieval.model_copy(update={"likelihood": reading}),
            "evaluate": params.evaluate.model_copy(update={"judge": judge}),
        }
    )
    rows = {model.name: model for model in describe_run(changed).models}
    assert (rows["tuned"].source, rows["tuned"].use) == ("base, trained for the likelihood", "reader of the likelihood")
    assert (rows["judge-1"].source, rows["judge-1"].use) == ("http://host/v1", "judge of the answers")


@pytest.mark.usefixtures("outs")
def test_text_of_the_data_never_becomes_html(params: Params, attack: str) -> None:
    page = render_page(params)
    assert attack not in page
    elements = Elements(page)
    assert sum(tag == "script" for tag, _ in elements.tags) == 2
    data = re.search(r'id="browser-data">(.*?)</script>', page, re.DOTALL)
    assert data
    (dataset,) = json.loads(data[1])
    assert attack in dataset["sessions"]["h/s2"]["text"]


@pytest.mark.slow
def test_a_browser_shows_the_data_as_text(outs: Path, params: Params, attack: str) -> None:
    path = outs / "report.html"
    path.write_text(render_page(params), encoding="utf-8")
    dom = browser_dom(path, "#ranker=base&question=missed")
    elements = Elements(dom)
    assert "<title>MemSifter: local</title>" in dom
    assert attack in elements.text
    assert not [tag for tag, _ in elements.tags if tag == "img"]
    assert "coarse ranks (scores)dense 4 (1.000) · lexical 1 (-1.000)" in elements.text
    assert "likelihoodnot read" in elements.text
    assert "log-likelihood of the question -9.500 nats" in elements.text
    assert "candidate 2 of 3 · place 2 in its own order · score -1.000 · probability 0.300" in elements.text
    assert "its model is not in this checkout" in elements.text
    assert "coarse rank 4, not among the 3 candidates that the ranker read" in elements.text
    assert "<think>s2 says so</think>" in elements.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fragment", "count"),
    [
        ("", "2 of 2 questions"),
        ("#ranker=base&show=missed", "1 of 2 questions"),
        ("#ranker=base&show=any", "1 of 2 questions"),
        ("#ranker=round1&show=any", "0 of 2 questions"),
    ],
)
def test_a_browser_filters_to_failures(fragment: str, count: str, outs: Path, params: Params) -> None:
    path = outs / "report.html"
    path.write_text(render_page(params), encoding="utf-8")
    assert f">{count}</output>" in browser_dom(path, fragment)


@pytest.mark.usefixtures("outs")
def test_what_is_left_out_is_said(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MAX_QUESTIONS", 1)
    monkeypatch.setattr(questions, "MAX_SESSION_CHARACTERS", 10)
    (dataset,) = questions.describe_questions(params)
    assert dataset["omitted"] == 1
    assert len(dataset["questions"]) == 1
    assert dataset["sessions"]["h/s1"] == {"date": "May 2023", "text": "user: I ad", "cut": 12}


@pytest.mark.parametrize(
    "path",
    [
        "data/processed/sample/report.json",
        "data/rankings/base/sample.parquet",
        "data/rankings/base/sample.json",
        "data/orders/sample.parquet",
        "data/likelihoods/sample.parquet",
        "results/orders/sample/table.csv",
        "results/round1/sample/questions.parquet",
        "reports/retrieval.csv",
        "reports/training/round1/curve.csv",
    ],
)
def test_a_missing_out_is_one_error(path: str, outs: Path, params: Params) -> None:
    (outs / path).unlink()
    with pytest.raises(MemSifterError, match=f"{path}.*dvc repro"):
        render_page(params)

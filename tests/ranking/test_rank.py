"""From coarse scores to prompts, and from responses to complete rankings; no engine."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_tokenizer import CHAT_TEMPLATE, NO_SYSTEM_TEMPLATE, byte_tokenizer

from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import prompt_path
from memsifter.params import Bm25Params, RankParams, load_params
from memsifter.ranking.engine import Response
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import QuestionPrompt, ask_numbers, build_prompts, read_number, read_responses
from memsifter.ranking.rows import ranking_rows
from memsifter.ranking.weight import RankFusion

# One token per byte: budgets can be counted by hand.
TOKENIZER = byte_tokenizer(chat_template=CHAT_TEMPLATE)
PROMPT = load_ranker_prompt(prompt_path("ranker"))
DEFAULT = load_params().rank
SCORES = {
    "h1-q1": np.array([0.1, 0.9, 0.5], dtype=np.float32),
    "h2-q1": np.array([0.3, 0.2, 0.1], dtype=np.float32),
    "h1-q2": np.array([0.2, 0.2, 0.2], dtype=np.float32),
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    records: list[Any] = []
    for haystack in ("h1", "h2"):
        sessions = tuple(
            Session(f"s{number}", "May", (Turn("user", f"{haystack} said {number} " + "x" * 50),))
            for number in range(3)
        )
        records.append(Haystack(haystack, sessions))
    # Questions of the two haystacks come mixed.
    records += [Question(name, "test", name[:2], "Who?", "June", "Ada", "c", ("s1",)) for name in SCORES]
    write_dataset(records, tmp_path / "data")
    return load_dataset(tmp_path / "data")


def params(**changes: Any) -> RankParams:
    budget = {"context_tokens": 4000, "view": "whole", "session_tokens": None, "max_candidates": 10}
    return DEFAULT.model_copy(update=budget | changes)


def prepare(dataset: Dataset, **changes: Any) -> dict[str, QuestionPrompt]:
    prepared = build_prompts(dataset, SCORES, PROMPT, TOKENIZER, params(**changes), Bm25Params(), seed=100)
    return {item.question.question_id: item for item in prepared}


def text_of(item: QuestionPrompt) -> str:
    return str(TOKENIZER.decode(item.prompt.tokens))


def test_candidates_stand_in_the_prompt_in_the_order_asked_for(dataset: Dataset) -> None:
    assert prepare(dataset, candidate_order="similarity")["h1-q1"].candidates == (1, 2, 0)
    item = prepare(dataset, candidate_order="chronological")["h1-q1"]
    assert item.candidates == (0, 1, 2)
    text = text_of(item)
    assert text.index("h1 said 0") < text.index("h1 said 1") < text.index("h1 said 2") < text.index("Who?")
    assert "[Session 1] May" in text


def test_questions_to_one_haystack_are_neighbours_and_keep_their_seed(dataset: Dataset) -> None:
    prepared = prepare(dataset)
    assert list(prepared) == ["h1-q1", "h1-q2", "h2-q1"]
    assert {name: item.prompt.sampling["seed"] for name, item in prepared.items()} == {
        "h1-q1": 100,
        "h2-q1": 101,
        "h1-q2": 102,
    }


@pytest.mark.parametrize("context_tokens", range(1800, 2200, 40))
def test_a_prompt_never_exceeds_its_budget(dataset: Dataset, context_tokens: int) -> None:
    for item in prepare(dataset, context_tokens=context_tokens).values():
        assert len(item.prompt.tokens) <= context_tokens


def test_a_lone_session_that_is_too_long_is_cut(dataset: Dataset) -> None:
    whole = len(prepare(dataset, max_candidates=1)["h1-q1"].prompt.tokens)
    item = prepare(dataset, max_candidates=1, context_tokens=whole - 20)["h1-q1"]
    assert item.candidates == (1,)
    assert len(item.prompt.tokens) <= whole - 20
    assert "h1 said 1 xxx" in text_of(item)


def test_a_context_without_room_for_any_session_is_an_error(dataset: Dataset) -> None:
    with pytest.raises(MemSifterError, match=r"raise rank\.context_tokens"):
        prepare(dataset, context_tokens=100)


def test_structured_output_admits_only_the_candidates_shown(dataset: Dataset) -> None:
    regex = prepare(dataset, max_candidates=2)["h1-q1"].prompt.sampling["structured_outputs"]["regex"]
    assert regex == "<think></think><ranking>([1-2])(,([1-2])){0,1}</ranking>"
    assert "structured_outputs" not in prepare(dataset, structured_output=False)["h1-q1"].prompt.sampling


def test_missing_scores_are_an_error(dataset: Dataset) -> None:
    scores = {name: value for name, value in SCORES.items() if name != "h1-q2"}
    with pytest.raises(MemSifterError, match=r"'h1-q2': its coarse scores are missing"):
        build_prompts(dataset, scores, PROMPT, TOKENIZER, params(), Bm25Params(), seed=0)


def test_a_response_becomes_a_complete_ranking(dataset: Dataset) -> None:
    prepared = build_prompts(
        dataset, SCORES, PROMPT, TOKENIZER, params(candidate_order="similarity", max_candidates=2), Bm25Params(), seed=0
    )
    texts = {"h1-q1": "<think></think><ranking>2</ranking>", "h1-q2": "no idea", "h2-q1": "<ranking>2,2,9,1"}
    responses = {name: Response(name, text, 10, 5) for name, text in texts.items()}
    readings = read_responses(prepared, responses, PROMPT.base)
    written = RankFusion("written")
    rows = {row["question_id"]: row for row in ranking_rows(prepared, readings, dataset, SCORES, params(), written)}
    # h1-q1: candidates s1, s2; it named the second; then the other candidate; then the session it never saw.
    assert rows["h1-q1"]["candidates"] == ["s1", "s2"]
    assert rows["h1-q1"]["ranking"] == ["s2", "s1", "s0"]
    assert rows["h1-q1"]["parse_status"] == "ok"
    scores = {name: None if reading.scores is None else reading.scores.tolist() for name, reading in readings.items()}
    assert scores == {"h1-q1": [-2.0, -1.0], "h1-q2": None, "h2-q1": [-2.0, -1.0]}, "minus the place"
    assert rows["h1-q2"]["ranking"] == ["s0", "s1", "s2"], "nothing readable: the coarse order"
    assert rows["h1-q2"]["parse_status"] == "failed"
    assert rows["h2-q1"]["ranking"] == ["s1", "s0", "s2"]
    assert rows["h2-q1"]["parse_status"] == "repaired"


def test_a_ranker_without_a_system_role_is_told_the_same(dataset: Dataset) -> None:
    tokenizer = byte_tokenizer(chat_template=NO_SYSTEM_TEMPLATE)
    (first, *_) = build_prompts(dataset, SCORES, PROMPT, tokenizer, params(), Bm25Params(), seed=0)
    text = tokenizer.decode(first.prompt.tokens)
    assert text.startswith(f"<|user|>{PROMPT.system}\n\nPast sessions:")


@pytest.mark.parametrize(
    ("opened", "written"),
    [("<think>\n", "</think><ranking>2,1</ranking>"), ("<think>\n\n</think>\n\n", "<ranking>2,1</ranking>")],
)
def test_a_template_that_opens_the_thoughts(dataset: Dataset, opened: str, written: str) -> None:
    tokenizer = byte_tokenizer(chat_template=CHAT_TEMPLATE.replace("<|assistant|>", f"<|assistant|>{opened}"))
    prompts = build_prompts(dataset, SCORES, PROMPT, tokenizer, params(structured_output=True), Bm25Params(), seed=0)
    for item in prompts:
        assert re.fullmatch(item.prompt.sampling["structured_outputs"]["regex"], written)
    responses = {item.question.question_id: Response(item.question.question_id, written, 10, 5) for item in prompts}
    readings = read_responses(prompts, responses, PROMPT.base, opened)
    assert {reading.status for reading in readings.values()} == {"ok"}


def test_a_ranker_that_writes_only_a_number_ranks_all_candidates(dataset: Dataset) -> None:
    prepared = build_prompts(
        dataset, SCORES, PROMPT, TOKENIZER, params(candidate_order="similarity"), Bm25Params(), seed=0
    )
    before: dict[str, str | None] = dict.fromkeys(SCORES, "<think></think><ranking>")
    asked = ask_numbers(prepared, before | {"h2-q1": None}, TOKENIZER, PROMPT.base)
    assert list(asked) == ["h1-q1", "h1-q2"], "one has no ranking to score"
    (prompt,) = asked["h1-q1"].prompts
    assert TOKENIZER.decode(prompt.tokens).endswith("<|assistant|><think></think><ranking>")
    assert prompt.sampling["max_tokens"] == 1
    digits = prompt.sampling["logprob_token_ids"]
    assert TOKENIZER.decode(digits) == "123"
    given = dict(zip(digits, [-3.0, -1.0, -2.0], strict=True))
    reading = read_number(asked["h1-q1"], {"h1-q1#0": Response("h1-q1#0", "2", 100, 1, given)}, PROMPT.base)
    assert reading.named == (1, 2, 0)
    assert reading.response == "<think></think><ranking>2"
    assert (reading.status, reading.prompt_tokens, reading.response_tokens) == ("ok", 100, 1)
    assert reading.scores is not None
    assert reading.scores == pytest.approx(np.array([-3, -1, -2]) - np.log(np.exp([-3, -1, -2]).sum()), abs=1e-4)

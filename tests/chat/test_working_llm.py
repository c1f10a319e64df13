"""From rankings to answers against an endpoint; no model."""

from pathlib import Path
from typing import Any

import pytest
from scripted_server import Act, Call, Fail, Say, ScriptedServer
from tiny_tokenizer import CHAT_TEMPLATE, NO_SYSTEM_TEMPLATE, byte_tokenizer

from memsifter.chat.answers import ANSWERS_SCHEMA, read_answers
from memsifter.chat.context import build_requests, keep_probable
from memsifter.chat.prompt import load_chat_prompt
from memsifter.chat.reply import Answer, Refusal
from memsifter.chat.server import ask_working_llm
from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.io.files import read_parquet, write_parquet
from memsifter.llm.prompts import prompt_path
from memsifter.params import Bm25Params, ChatParams, load_params

TOKENIZER = byte_tokenizer(chat_template=CHAT_TEMPLATE)
PROMPT = load_chat_prompt(prompt_path("chat"))
SESSIONS = tuple(Session(f"s{n}", f"{n} May", (Turn("user", f"fact {n}"),)) for n in range(4))
QUESTIONS = tuple(Question(f"q{n}", "test", "h", f"What is {n}?", "June", f"{n}", "c", ()) for n in range(3))
RANKINGS = {question.question_id: ["s3", "s1", "s0", "s2"] for question in QUESTIONS}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    write_dataset([Haystack("h", SESSIONS), *QUESTIONS], tmp_path / "data")
    return load_dataset(tmp_path / "data")


def params(base_url: str = "http://127.0.0.1:9/v1", **changes: Any) -> ChatParams:
    values = {"base_url": base_url, "max_sessions": 2, "context_tokens": 2000, "max_retries": 0, "timeout_s": 10.0}
    return load_params().chat.model_copy(update=values | changes)


def test_the_request_shows_the_best_sessions_with_their_dates(dataset: Dataset) -> None:
    first = build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, params(), Bm25Params(), seed=1)[0]
    assert first.context.session_ids == ("s1", "s3")
    assert not isinstance(first.request.prompt, str)
    text = first.request.prompt[-1]["content"]
    assert text.index("1 May") < text.index("fact 1") < text.index("3 May") < text.index("What is 0?")
    assert "fact 2" not in text


def test_a_seed_is_sent_only_when_the_model_samples(dataset: Dataset) -> None:
    for temperature, seed in ((0.0, None), (0.7, 1)):
        changed = params(temperature=temperature)
        prepared = build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, changed, Bm25Params(), seed=1)
        assert {item.request.sampling.seed for item in prepared} == {seed}


@pytest.mark.parametrize(("base_url", "roles"), [("local", ["user"]), ("https://api.example/v1", ["system", "user"])])
def test_a_local_model_without_a_system_role_gets_its_text_before_the_users(
    dataset: Dataset, base_url: str, roles: list[str]
) -> None:
    tokenizer = byte_tokenizer(chat_template=NO_SYSTEM_TEMPLATE)
    (first, *_) = build_requests(dataset, RANKINGS, PROMPT, tokenizer, params(base_url), Bm25Params(), seed=1)
    assert not isinstance(first.request.prompt, str)
    assert [message["role"] for message in first.request.prompt] == roles
    assert PROMPT.system in first.request.prompt[0]["content"]


def test_errors_of_preparation_name_the_question(dataset: Dataset) -> None:
    with pytest.raises(MemSifterError, match="'q1' has no ranking"):
        build_requests(dataset, {"q0": ["s0"]}, PROMPT, TOKENIZER, params(), Bm25Params(), seed=1)
    with pytest.raises(MemSifterError, match=r"raise chat\.context_tokens"):
        build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, params(context_tokens=50), Bm25Params(), seed=1)


def test_sessions_below_the_least_probability_are_not_shown(dataset: Dataset) -> None:
    ranking, shares = ["s3", "s1", "s2", "s0"], [0.7, 0.25, 0.05, None]
    assert keep_probable(ranking, shares, None) == ranking
    assert keep_probable(ranking, shares, 0.25) == ["s3", "s1"]
    assert keep_probable(ranking, shares, 0.0) == ranking
    with pytest.raises(ValueError, match="shorter"):
        keep_probable(ranking, shares[:2], 0.25)
    rankings: dict[str, list[str]] = {**RANKINGS, "q1": keep_probable(ranking, shares, 0.8)}
    shown = {
        item.question.question_id: item
        for item in build_requests(dataset, rankings, PROMPT, TOKENIZER, params(), Bm25Params(), seed=1)
    }
    assert shown["q1"].context.session_ids == (), "none is left, so none is shown"
    assert "fact" not in str(shown["q1"].request.prompt)
    assert len(shown["q0"].context.session_ids) == 2


def test_answers_come_in_order_and_are_asked_for_once(dataset: Dataset, tmp_path: Path) -> None:
    requests = [
        item.request for item in build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, params(), Bm25Params(), seed=1)
    ]
    cache = tmp_path / "answers"
    with ScriptedServer(then=lambda call: Say(call.prompt)) as server:
        answers = ask_working_llm(requests, params(server.base_url), cache, seed=1)
        texts = [answer.text for answer in answers if isinstance(answer, Answer)]
        assert [f"What is {n}?" in text for n, text in enumerate(texts)] == [True] * 3
        assert len(server.calls) == 3
    # The endpoint is gone, and nothing asks for it.
    again = ask_working_llm(requests, params(server.base_url), cache, seed=1)
    assert [answer.text for answer in again if isinstance(answer, Answer)] == texts


def test_an_unreachable_endpoint_is_named(dataset: Dataset, tmp_path: Path) -> None:
    requests = [
        item.request for item in build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, params(), Bm25Params(), seed=1)
    ]
    with pytest.raises(MemSifterError, match=r"http://127\.0\.0\.1:9/v1 failed for good"):
        ask_working_llm(requests, params(), tmp_path / "answers", seed=1)


def test_a_question_that_is_filtered_is_named_and_can_be_left_out(dataset: Dataset, tmp_path: Path) -> None:
    requests = [
        item.request for item in build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, params(), Bm25Params(), seed=1)
    ]

    def behave(call: Call) -> Act:
        return Fail(400, "filtered") if "What is 1?" in call.prompt else Say("5")

    with ScriptedServer(then=behave) as server:
        with pytest.raises(MemSifterError, match=r"1 of 3 requests .*question.* 'q1'; first: HTTP 400: filtered"):
            ask_working_llm(requests, params(server.base_url), tmp_path, seed=1)
        lenient = params(server.base_url, on_refusal="leave_out")
        answers = ask_working_llm(requests, lenient, tmp_path, seed=1)
    assert [isinstance(answer, Answer) for answer in answers] == [True, False, True]


def test_what_is_null_is_not_sent(dataset: Dataset, tmp_path: Path) -> None:
    bare = params(temperature=None, top_p=None, stop=(), length_parameter="max_completion_tokens", max_tokens=9)
    requests = [
        item.request for item in build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, bare, Bm25Params(), seed=1)
    ]
    with ScriptedServer() as server:
        ask_working_llm(requests, bare.model_copy(update={"base_url": server.base_url}), tmp_path, seed=1)
    assert server.calls[0].body.keys() - {"messages"} == {"model", "max_completion_tokens", "seed"}


def test_a_refused_question_has_no_answer_and_no_score_in_the_answers_file(dataset: Dataset, tmp_path: Path) -> None:
    item = build_requests(dataset, RANKINGS, PROMPT, TOKENIZER, params(), Bm25Params(), seed=1)[1]
    write_parquet(
        tmp_path / "answers.parquet", list(read_answers([item], [Refusal("filtered")], PROMPT.form)), ANSWERS_SCHEMA
    )
    (row,) = read_parquet(tmp_path / "answers.parquet").to_pylist()
    assert (row["question_id"], row["answer"], row["refusal"]) == ("q1", None, "filtered")
    assert set(row["scores"].values()) == {None}

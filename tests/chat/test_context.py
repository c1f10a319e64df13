from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizer import CHAT_TEMPLATE, byte_tokenizer

from memsifter.chat.context import Context, ContextBuilder
from memsifter.chat.prompt import ChatPrompt, render_prompt
from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.llm.tokens import count_prompt
from memsifter.params import Bm25Params, load_params

# One token per byte: budgets can be counted by hand.
TOKENIZER = byte_tokenizer(chat_template=CHAT_TEMPLATE)
PROMPT = ChatPrompt(form="chat", session="[{date}] {text}", empty="-", user="{sessions} {question}")
REST = len("<|user|>- Who?\n<|assistant|>")
X, Y = Turn("user", "x" * 4), Turn("user", "y" * 14)  # "user: xxxx" has 10 bytes
SESSIONS = (Session("s1", "May", (X,)), Session("s2", "", (Y,)), Session("s3", "July", (X,)))
QUESTION = Question("q", "test", "h", "Who?", "", "Ada", "c", ())
MAY, JULY, UNKNOWN = "[May] user: xxxx", "[July] user: xxxx", "[date unknown] user: " + "y" * 14


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    directory: Path = tmp_path_factory.mktemp("context") / "data"
    write_dataset([Haystack("h", SESSIONS), QUESTION], directory)
    return load_dataset(directory)


def build(dataset: Dataset, ranking: list[str], max_sessions: int, budget: int) -> Context:
    """The context where `budget` tokens are left for sessions."""
    changes = {"context_tokens": budget + REST, "view": "whole", "session_tokens": None, "max_sessions": max_sessions}
    chat = load_params().chat.model_copy(update=changes)
    builder = ContextBuilder(dataset, PROMPT, TOKENIZER, chat, Bm25Params())
    assert builder.budget(QUESTION) == budget
    return builder.fill(QUESTION, ranking)


def test_the_top_sessions_are_shown_in_the_order_in_which_they_happened(dataset: Dataset) -> None:
    context = build(dataset, ["s3", "s1", "s2"], 2, 1000)
    assert context.session_ids == ("s1", "s3")
    assert context.text == f"{MAY}\n\n{JULY}"


def test_no_session_gives_an_empty_text(dataset: Dataset) -> None:
    assert build(dataset, ["s1"], 0, 1000) == Context((), "", 0)


def test_a_session_that_does_not_fit_is_left_out_and_the_next_is_tried(dataset: Dataset) -> None:
    room = len(f"\n\n{JULY}\n\n{MAY}")
    assert build(dataset, ["s3", "s2", "s1"], 3, room).session_ids == ("s1", "s3")
    assert build(dataset, ["s3", "s2", "s1"], 3, room - 1).session_ids == ("s3",)
    assert build(dataset, ["s3", "s2", "s1"], 2, room).session_ids == ("s3",)


def test_a_best_session_that_does_not_fit_is_cut_to_the_budget(dataset: Dataset) -> None:
    context = build(dataset, ["s2", "s1"], 2, 22)
    assert context == Context(("s2",), "[date unknown] user:", 22)


def test_where_not_even_a_heading_fits_the_context_is_empty(dataset: Dataset) -> None:
    assert build(dataset, ["s2"], 1, 17) == Context((), "", 0)
    assert build(dataset, ["s2"], 1, -5) == Context((), "", 0)


@pytest.mark.slow
@given(st.permutations(["s1", "s2", "s3"]), st.integers(0, 150))
@settings(max_examples=150, deadline=None)
def test_a_context_fits_and_grows_with_k(dataset: Dataset, ranking: list[str], budget: int) -> None:
    contexts = [build(dataset, ranking, max_sessions, budget) for max_sessions in range(4)]
    for smaller, larger in pairwise(contexts):
        assert set(smaller.session_ids) <= set(larger.session_ids)
    for context in contexts:
        if context.session_ids:
            whole = render_prompt(PROMPT, "Who?", "", context.text)
            assert count_prompt(whole, TOKENIZER) <= budget + REST

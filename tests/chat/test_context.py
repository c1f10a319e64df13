from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizer import CHAT_TEMPLATE, byte_tokenizer

from memsifter.chat.context import Context, build_context, context_budget, count_headings
from memsifter.chat.prompt import ChatPrompt, render_prompt
from memsifter.corpus.store import HaystackIndex
from memsifter.llm.tokens import count_prompt, cut_texts

# One token per byte: budgets can be counted by hand.
TOKENIZER = byte_tokenizer(chat_template=CHAT_TEMPLATE)
PROMPT = ChatPrompt(form="chat", session="[{date}] {text}", empty="-", user="{sessions} {question}")
HAYSTACK = HaystackIndex("h", ("s1", "s2", "s3"), ("k1", "k2", "k1"), ("May", "", "July"))
TEXTS = cut_texts({"k1": "x" * 10, "k2": "y" * 20}, TOKENIZER, None)
HEADINGS = count_headings(HAYSTACK.dates, PROMPT, TOKENIZER)
MAY, JULY, UNKNOWN = "[May] " + "x" * 10, "[July] " + "x" * 10, "[date unknown] " + "y" * 20


def build(ranking: list[str], max_sessions: int, budget: int) -> Context:
    return build_context(ranking, HAYSTACK, TEXTS, HEADINGS, PROMPT, TOKENIZER, max_sessions, budget)


def test_the_top_sessions_are_shown_in_the_order_in_which_they_happened() -> None:
    context = build(["s3", "s1", "s2"], 2, 1000)
    assert context.session_ids == ("s1", "s3")
    assert context.text == f"{MAY}\n\n{JULY}"


def test_no_session_gives_an_empty_text() -> None:
    assert build(["s1"], 0, 1000) == Context((), "", 0)


def test_a_session_that_does_not_fit_is_left_out_and_the_next_is_tried() -> None:
    room = len(f"\n\n{JULY}\n\n{MAY}")
    assert build(["s3", "s2", "s1"], 3, room).session_ids == ("s1", "s3")
    assert build(["s3", "s2", "s1"], 3, room - 1).session_ids == ("s3",)
    assert build(["s3", "s2", "s1"], 2, room).session_ids == ("s3",)


def test_a_best_session_that_does_not_fit_is_cut_to_the_budget() -> None:
    context = build(["s2", "s1"], 2, 22)
    assert context == Context(("s2",), "[date unknown] yyyyy", 22)


def test_where_not_even_a_heading_fits_the_context_is_empty() -> None:
    assert build(["s2"], 1, 17) == Context((), "", 0)
    assert build(["s2"], 1, -5) == Context((), "", 0)


def test_the_budget_is_what_the_rest_of_the_prompt_leaves() -> None:
    rest = len("<|user|>- Who?\n<|assistant|>")
    assert context_budget(PROMPT, "Who?", "", TOKENIZER, 100) == 100 - rest


@given(st.permutations(["s1", "s2", "s3"]), st.integers(0, 150))
@settings(max_examples=150, deadline=None)
def test_a_context_fits_and_grows_with_k(ranking: list[str], context_tokens: int) -> None:
    budget = context_budget(PROMPT, "Who?", "", TOKENIZER, context_tokens)
    contexts = [build(ranking, max_sessions, budget) for max_sessions in range(4)]
    for smaller, larger in pairwise(contexts):
        assert set(smaller.session_ids) <= set(larger.session_ids)
    for context in contexts:
        if context.session_ids:
            whole = render_prompt(PROMPT, "Who?", "", context.text)
            assert count_prompt(whole, TOKENIZER) <= context_tokens

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizer import CHAT_TEMPLATE, DROPS_SYSTEM_TEMPLATE, NO_SYSTEM_TEMPLATE, byte_tokenizer

from memsifter.errors import MemSifterError
from memsifter.llm.prompts import MessagesPrompt, chat_messages
from memsifter.llm.tokens import CountedText, count_prompt, cut_texts, encode_prompt, fold_system, opened_thought

BYTES = byte_tokenizer()
WORDS = byte_tokenizer(merges=120)
texts = st.text(alphabet=st.sampled_from("the cat sat\n hello é中🙂  "), max_size=60)


def test_texts_are_cut_and_counted() -> None:
    counted = cut_texts({"a": "hello", "b": "hi", "c": ""}, BYTES, 3)
    assert counted == {"a": CountedText("hel", 3), "b": CountedText("hi", 2), "c": CountedText("", 0)}
    assert list(counted) == ["a", "b", "c"]


def test_no_limit_only_counts() -> None:
    assert cut_texts({"a": "hello"}, BYTES, None) == {"a": CountedText("hello", 5)}


def test_a_character_is_kept_whole_or_not_at_all() -> None:
    text = "a中b"  # 1 + 3 + 1 bytes
    assert [cut_texts({"": text}, BYTES, limit)[""].text for limit in range(6)] == ["", "a", "a", "a", "a中", text]


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["bytes", "words"])
@given(batch=st.lists(texts, max_size=8), limit=st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_a_cut_text_is_a_prefix_within_the_limit_and_as_long_as_can_be(
    tokenizer: Any, batch: list[str], limit: int
) -> None:
    counted = cut_texts({str(row): text for row, text in enumerate(batch)}, tokenizer, limit)
    for row, text in enumerate(batch):
        cut = counted[str(row)]
        assert text.startswith(cut.text)
        assert cut.tokens == len(tokenizer(cut.text, add_special_tokens=False).input_ids) <= limit
        if len(tokenizer(text, add_special_tokens=False).input_ids) <= limit:
            assert cut.text == text


def test_many_texts_are_read_in_batches() -> None:
    many = {str(number): "x" * (number % 7) for number in range(1000)}
    assert [counted.tokens for counted in cut_texts(many, BYTES, 5).values()] == [min(n % 7, 5) for n in range(1000)]


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(MemSifterError, match=r"tokenizer\.json"):
        cut_texts({"a": "x"}, cast(Any, SimpleNamespace(is_fast=False)), 3)


def test_a_prompt_is_counted_as_the_model_will_read_it() -> None:
    assert count_prompt("hello", BYTES) == 5
    messages = [{"role": "user", "content": "hello"}]
    assert count_prompt(messages, byte_tokenizer(chat_template=CHAT_TEMPLATE)) == len("<|user|>hello\n<|assistant|>")
    assert count_prompt(messages, BYTES) >= 5 + len("user")


PROMPT = MessagesPrompt(system="Rank.", user="{question}")


@pytest.mark.parametrize("template", [NO_SYSTEM_TEMPLATE, DROPS_SYSTEM_TEMPLATE], ids=["refused", "dropped"])
def test_a_template_without_a_system_role_gets_its_text_before_the_users(template: str) -> None:
    folded = fold_system(PROMPT, byte_tokenizer(chat_template=template))
    assert folded == MessagesPrompt(system="", user="Rank.\n\n{question}")
    assert fold_system(folded, byte_tokenizer(chat_template=template)) == folded


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, None], ids=["system", "no template"])
def test_other_templates_keep_the_system_message(template: str | None) -> None:
    assert fold_system(PROMPT, byte_tokenizer(chat_template=template)) is PROMPT


def test_messages_that_a_template_refuses_are_one_clear_error() -> None:
    with pytest.raises(MemSifterError, match="refuses messages of the roles system, user: System role not supported"):
        encode_prompt(chat_messages("Rank.", "Who?"), byte_tokenizer(chat_template=NO_SYSTEM_TEMPLATE))


@pytest.mark.parametrize(
    ("ending", "opened"),
    [
        ("<|assistant|>", ""),
        ("<|assistant|><think>\n", "<think>\n"),
        ("<|assistant|>\n<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
    ],
    ids=["plain", "thinking", "thinking off"],
)
def test_what_a_template_writes_of_the_thoughts(ending: str, opened: str) -> None:
    template = CHAT_TEMPLATE.replace("<|assistant|>", ending)
    assert opened_thought(byte_tokenizer(chat_template=template)) == opened


def test_without_a_template_nothing_is_written_of_the_thoughts() -> None:
    assert opened_thought(byte_tokenizer()) == ""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.chat.prompt import extract_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<answer>Paris</answer>", "Paris"),
        ("It is <answer> Paris </answer>, I think.", "Paris"),
        ("<answer>Rome</answer> no, <answer>Paris</answer>", "Paris"),
        ("<answer>Paris", "Paris"),
        ("Paris</answer>", "Paris"),
        ("<ANSWER>Paris</Answer>", "Paris"),
        ("<think>Rome? <answer>Rome</answer></think><answer>Paris</answer>", "Paris"),
        ("<think>Rome?</think>\nParis\n", "Paris"),
        ("Rome?</think>Paris", "Paris"),
        ("<think>so <answer>Paris</answer>", "Paris"),
        ("<think>never finished", ""),
        ("<answer></answer>", ""),
        ("  Paris,\n\nFrance \n", "Paris,\n\nFrance"),
        ("", ""),
    ],
)
def test_the_answer_of_the_chat_form(text: str, expected: str) -> None:
    assert extract_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Paris\nQuestion: Who?\nShort answer: Ann", "Paris"),
        ("\n Paris", "Paris"),
        ("Paris", "Paris"),
        ("<answer>Paris\nFrance</answer>\nQuestion:", "Paris\nFrance"),
    ],
)
def test_the_answer_of_the_completion_form(text: str, expected: str) -> None:
    assert extract_answer(text, "completion") == expected


@given(st.text().filter(lambda text: "<" not in text))
@settings(max_examples=100, deadline=None)
def test_a_tagged_answer_round_trips(answer: str) -> None:
    assert extract_answer(f"<think>no</think>So: <answer>{answer}</answer>.") == answer.strip()

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.errors import MemSifterError
from memsifter.llm.prompts import PROMPTS_DIRECTORY, PromptFile, fill, load_prompt, placeholders, plain_text


class Greeting(PromptFile):
    text: Annotated[str, placeholders("name", optional=("title",))]


def test_filling_is_one_pass() -> None:
    assert fill("{a}{b}", {"a": "{b}", "b": "{a}"}) == "{b}{a}"


def test_only_placeholders_are_special() -> None:
    assert fill('{"x": 1} {} {0} {{a}} {A} { a } \\1 {a}', {"a": "\\2"}) == '{"x": 1} {} {0} {\\2} {A} { a } \\1 \\2'


@given(st.text(), st.text())
@settings(max_examples=100, deadline=None)
def test_values_arrive_unchanged(first: str, second: str) -> None:
    assert fill("<{a}|{b}>", {"a": first, "b": second}) == f"<{first}|{second}>"


CONTROL = [
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|start_header_id|>", "<|eot_id|>", "<|begin▁of▁text|>"),
    *(
        "<\uff5cUser\uff5c>",
        "<\uff5cend▁of▁sentence\uff5c>",
        "<s>",
        "</s>",
        "<bos>",
        "<eos>",
        "<pad>",
        "<unk>",
        "<mask>",
    ),
    *("<start_of_turn>", "<end_of_turn>", "<tool_call>", "</tool_call>", "<repo_name>", "<file_sep>", "<extra_id_0>"),
    *("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[CLS]", "[gMASK]"),
    *("<think>", "</think>", "<ranking>", "</Ranking>", "<answer>"),
]


@pytest.mark.parametrize("token", CONTROL)
def test_control_tokens_become_plain_text(token: str) -> None:
    assert plain_text(f"a{token}b") == f"a{token[0]} {token[1:]}b"


@pytest.mark.parametrize(
    "text",
    [
        "<div class='x'>",
        "a <b>bold</b> word",
        "1 < 2 > 0",
        "x[0]",
        "[1]",
        "[Session 3]",
        "<|",
        "|>",
        "<3",
        "f(a|b)",
        "x[some_key]",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert plain_text(text) == text


@given(st.lists(st.sampled_from([*CONTROL, "<", "|", ">", "[", "]", "/", " ", "a"]), max_size=12).map("".join))
@settings(max_examples=200, deadline=None)
def test_plain_text_holds_no_control_token_and_is_stable(text: str) -> None:
    plain = plain_text(text)
    assert not any(token in plain for token in CONTROL)
    assert plain_text(plain) == plain
    assert plain.replace(" ", "") == text.replace(" ", "")


def test_a_good_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "hello.yaml"
    path.write_text("text: |-\n  Hello {title} {name}, {\n")
    assert load_prompt(path, Greeting).text == "Hello {title} {name}, {"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text: Hello", r"text: placeholder \{name\} is missing"),
        ("text: Hello {name} {nme}", r"text: unknown placeholder \{nme\}; allowed: \{name\}, \{title\}"),
        ("{}", "text: Field required"),
        ("text: 3", "text: Input should be a valid string"),
        ("text: '{name}'\nmore: x", "more: Extra inputs are not permitted"),
        ("", "file: Input should be a valid dictionary"),
        ("- a", "file: Input should be a valid dictionary"),
        ("text: [", "not valid YAML"),
        ("text: '{name}' \x00", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "hello.yaml"
    path.write_text(content)
    with pytest.raises(MemSifterError, match=message) as caught:
        load_prompt(path, Greeting)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hello.yaml"
    path.write_bytes(b"text: '{name} \xff'")
    with pytest.raises(MemSifterError, match="not valid YAML"):
        load_prompt(path, Greeting)


def test_a_missing_prompt_names_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").touch()
    (tmp_path / "a.yaml").touch()
    with pytest.raises(MemSifterError, match=r"c\.yaml: no such prompt; prompts there: a, b$"):
        load_prompt(tmp_path / "c.yaml", Greeting)


def test_every_shipped_prompt_opens_with_a_comment_on_its_purpose() -> None:
    files = sorted(PROMPTS_DIRECTORY.glob("*.yaml"))
    assert {file.stem for file in files} >= {
        *("ranker", "ranker_deep_research", "chat", "chat_fewshot", "deep_research", "judge"),
    }
    assert [file.name for file in files if not file.read_text().startswith("# The ")] == []

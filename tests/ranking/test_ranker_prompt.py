from pathlib import Path

import pytest
import yaml

from memsifter.errors import MemSifterError
from memsifter.llm.prompts import prompt_path
from memsifter.ranking.prompt import RankerPrompt, load_ranker_prompt, render_messages, render_session

SMALL = RankerPrompt(
    base=1,
    system="Rank.",
    session="#{number} ({date}) {text}",
    user="{sessions}\nQ: {question}",
)


def test_sessions_are_numbered_from_the_base_and_dated() -> None:
    messages = render_messages(SMALL, "Who?", "today", [("2023-05-01", "a: hi"), ("", "b: ho")])
    assert messages == [
        {"role": "system", "content": "Rank."},
        {"role": "user", "content": "#1 (2023-05-01) a: hi\n\n#2 (date unknown) b: ho\nQ: Who?"},
    ]


def test_an_empty_system_message_is_not_sent() -> None:
    prompt = SMALL.model_copy(update={"system": ""})
    assert [message["role"] for message in render_messages(prompt, "Who?", "", [("", "x")])] == ["user"]


def test_braces_in_sessions_and_questions_stay_text() -> None:
    sessions = [("{question}", "{text} {number} {sessions} {} {0} {{x}}"), ("d", "%s $question \\1")]
    content = render_messages(SMALL, "{sessions}?", "{date}", sessions)[1]["content"]
    assert content == (
        "#1 ({question}) {text} {number} {sessions} {} {0} {{x}}\n\n#2 (d) %s $question \\1\nQ: {sessions}?"
    )


@pytest.mark.parametrize("name", ["ranker", "ranker_deep_research"])
def test_the_shipped_prompts_show_everything_with_the_sessions_first(name: str) -> None:
    prompt = load_ranker_prompt(prompt_path(name))
    sessions = [("1 May", "first text"), ("2 May", "second text")]
    system, user = render_messages(prompt, "WHO WAS IT?", "3 May", sessions)
    for tag in ("<think>", "</think>", "<ranking>", "</ranking>"):
        assert tag in system["content"]
    parts = [user["content"].index(part) for part in ("first text", "second text", "WHO WAS IT?")]
    assert parts == sorted(parts)
    assert "{" not in user["content"]
    assert render_session(prompt, 1, "2 May", "second text") in user["content"]
    assert prompt.base == 1
    assert "2]" in user["content"]


@pytest.mark.parametrize("name", ["ranker", "ranker_deep_research"])
def test_questions_to_the_same_sessions_share_all_of_them_as_a_prefix(name: str) -> None:
    prompt = load_ranker_prompt(prompt_path(name))
    sessions = [("1 May", "first text"), ("2 May", "last text")]
    one, other = (render_messages(prompt, q, d, sessions)[1]["content"] for q, d in (("Who?", "x"), ("Where?", "y")))
    shared = next(index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert shared > one.index("last text") + len("last text")


def write(path: Path, **changes: object) -> Path:
    values = SMALL.model_dump() | changes
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not ...}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": "{question}"}, r"user: placeholder \{sessions\} is missing"),
        ({"session": "{text}"}, r"session: placeholder \{number\} is missing"),
        (
            {"user": "{sessions} {question} {qestion}"},
            r"user: unknown placeholder \{qestion\}; allowed: \{num_sessions\}",
        ),
        ({"system": "You see {sessions}"}, r"system: unknown placeholder \{sessions\}; allowed: none"),
        ({"base": -1}, "base: .*greater than or equal to 0"),
        ({"base": "1"}, "base: .*valid integer"),
        ({"system": ...}, "system: Field required"),
        ({"extra": "x"}, "extra: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write(tmp_path / "mine.yaml", **changes)
    with pytest.raises(MemSifterError, match=message) as caught:
        load_ranker_prompt(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_every_wrong_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"user: .*; base: "):
        load_ranker_prompt(write(tmp_path / "mine.yaml", base=-1, user="x"))

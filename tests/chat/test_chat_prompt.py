from pathlib import Path

import pytest
import yaml

from memsifter.chat.prompt import (
    ChatPrompt,
    load_chat_prompt,
    load_judge_prompt,
    render_judge,
    render_prompt,
)
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import prompt_path

CHAT = ChatPrompt(
    form="chat", system="Answer.", session="{text}", empty="(none)", user="{sessions}|{question_date}|{question}"
)
COMPLETION = ChatPrompt(form="completion", session="{text}", empty="(none)", user="{sessions}\nQ: {question}\nA:")


def test_the_chat_form_gives_messages() -> None:
    assert render_prompt(CHAT, "Who?", "May", "a: hi {question}") == [
        {"role": "system", "content": "Answer."},
        {"role": "user", "content": "a: hi {question}|May|Who?"},
    ]


def test_the_completion_form_gives_one_text() -> None:
    assert render_prompt(COMPLETION, "Who?", "May", "a: hi") == "a: hi\nQ: Who?\nA:"


def test_no_sessions_and_no_date_are_said_so() -> None:
    messages = render_prompt(CHAT, "Who?", "", "")
    assert messages[-1] == {"role": "user", "content": "(none)|date unknown|Who?"}


@pytest.mark.parametrize("name", ["chat", "chat_fewshot", "deep_research"])
def test_the_shipped_prompts_show_the_history_before_the_question(name: str) -> None:
    prompt = load_chat_prompt(prompt_path(name))
    rendered = render_prompt(prompt, "WHO WAS IT?", "3 May", "THE HISTORY")
    text = rendered if isinstance(rendered, str) else rendered[-1]["content"]
    assert text.index("THE HISTORY") < text.index("WHO WAS IT?")
    assert "{" not in text
    if isinstance(rendered, str):
        assert text.endswith("Question: WHO WAS IT?\nAnswer:")
        assert text.count("Answer:") == 5
    else:
        assert "<answer>" in rendered[0]["content"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "text"}, "form: Input should be 'chat' or 'completion'"),
        ({"user": "{question}"}, r"user: placeholder \{sessions\} is missing"),
        ({"session": "{number} {text}"}, r"session: unknown placeholder \{number\}"),
        ({"system": "x"}, "system: a completion has no system message"),
    ],
)
def test_a_wrong_prompt_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(COMPLETION.model_dump() | changes))
    with pytest.raises(MemSifterError, match=message):
        load_chat_prompt(path)


def test_the_judge_sees_question_reference_and_prediction() -> None:
    prompt = load_judge_prompt(prompt_path("judge"))
    system, user = render_judge(prompt, "Who?", "{prediction}", "Ann")
    assert system["role"] == "system"
    assert "yes or no" in system["content"]
    for part in ("Question: Who?", "Reference answer: {prediction}", "Predicted answer: Ann"):
        assert part in user["content"]

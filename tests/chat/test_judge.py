"""The judge of answers against an endpoint: its verdict is read or refused, never guessed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Act, Call, Fail, Say, ScriptedServer

from memsifter.chat.judge import judge_answers, parse_verdict
from memsifter.corpus.sessions import Question
from memsifter.errors import MemSifterError
from memsifter.params import JudgeParams

QUESTIONS = tuple(Question(f"q{n}", "test", "h", f"What is {n}?", "June", f"{n}", "c", ()) for n in range(3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Verdict: yes", True),
        ("verdict: NO", False),
        ("**Verdict:** yes.", True),
        ("No.", False),
        ("The dates do not agree at first sight, but yes, they do.\n\nVerdict: yes\n", True),
        ("Yes, Paris is a city. But the reference names Rome.\nVerdict: no", False),
        ("<think>Verdict: yes? No.</think>\nVerdict: no", False),
        # Unclear, and not guessed.
        ("", None),
        ("perhaps", None),
        ("No doubt about it: the prediction is right.", None),
        ("Is the prediction right? Yes and no.", None),
        ("Verdict: yes\nVerdict: no", None),
        ("Verdict: yes, if May is meant", None),
        ("Verdict: yes\nThe prediction names the same person.", None),
        ("<think>It may be\nyes", None),
    ],
)
def test_a_verdict_is_the_last_line_and_nothing_else(text: str, expected: bool | None) -> None:
    assert parse_verdict(text) is expected


@given(st.text(alphabet="abcdefgh ,.\n"), st.booleans())
def test_an_explanation_never_changes_the_verdict(explanation: str, verdict: bool) -> None:
    assert parse_verdict(f"{explanation}\nVerdict: {'yes' if verdict else 'no'}") is verdict


def judge(server: ScriptedServer, tmp_path: Path, answers: dict[str, str | None], **changes: Any) -> dict[str, float]:
    values: dict[str, Any] = {"base_url": server.base_url, "model": "judge", "api_key_env": "NO_KEY"}
    values |= {"concurrency": 2, "timeout_s": 10.0, "max_retries": 0}
    return judge_answers(QUESTIONS, answers, JudgeParams(**(values | changes)), tmp_path / "verdicts")


ANSWERS: dict[str, str | None] = {"q0": "0", "q1": "nothing", "q2": "2"}


def test_the_judge_sees_answer_and_reference(tmp_path: Path) -> None:
    def verdict(call: Call) -> Say:
        return Say("<think>no doubt</think>Verdict: no" if "nothing" in call.prompt else "It agrees.\nVerdict: yes")

    with ScriptedServer(then=verdict) as server:
        assert judge(server, tmp_path, ANSWERS) == {"q0": 1.0, "q1": 0.0, "q2": 1.0}
        assert all("What is" in prompt for prompt in server.prompts)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (Say("perhaps"), "question 'q1': the last line is not a verdict: 'perhaps'"),
        (Say("Verdict: no", finish_reason="length"), r"question 'q1': .* raise evaluate\.judge\.max_tokens"),
        (Fail(400, "filtered"), "HTTP 400: filtered"),
        (Say(None, "content_filter"), "content_filter"),
    ],
)
def test_a_missing_verdict_is_never_a_no(act: Act, message: str, tmp_path: Path) -> None:
    def behave(call: Call) -> Act:
        return act if "nothing" in call.prompt else Say("Verdict: yes")

    with ScriptedServer(then=behave) as server:
        with pytest.raises(MemSifterError, match=message):
            judge(server, tmp_path, ANSWERS)
        assert judge(server, tmp_path, ANSWERS, on_refusal="leave_out") == {"q0": 1.0, "q2": 1.0}


def test_a_judge_without_any_verdict_is_an_error_whatever_may_be_left_out(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Say("perhaps")) as server, pytest.raises(MemSifterError, match="3 of 3 answers"):
        judge(server, tmp_path, ANSWERS, on_refusal="leave_out")


def test_an_answer_that_was_left_out_is_not_judged(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Say("Verdict: yes")) as server:
        assert judge(server, tmp_path, ANSWERS | {"q1": None}) == {"q0": 1.0, "q2": 1.0}
    assert len(server.calls) == 2


def test_what_is_null_is_not_sent(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Say("Verdict: yes")) as server:
        judge(server, tmp_path, ANSWERS, temperature=None, length_parameter="max_completion_tokens", max_tokens=77)
    assert server.calls[0].body.keys() - {"messages"} == {"model", "max_completion_tokens"}
    assert server.calls[0].body["max_completion_tokens"] == 77

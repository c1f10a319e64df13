import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Say, ScriptedServer

from memsifter.cli import main
from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import write_dataset

SESSIONS = [
    {"id": "cat", "date": "2024-05-20", "turns": [{"role": "user", "content": "My cat is Momo."}]},
    [{"role": "user", "content": "The bike is mine."}],
]
LINES = "".join(json.dumps(session) + "\n" for session in SESSIONS)
Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def run(
    tiny_embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `memsifter COMMAND …` in this process; returns exit code, the rows on stdout, and stderr."""
    monkeypatch.setenv("MEMSIFTER_CACHE", str(tmp_path / "cache"))

    def run_command(*arguments: str, stdin: str = "") -> tuple[int, list[dict[str, Any]], str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            main([*arguments, "--embedder", str(tiny_embedder)])
            code = 0
        except SystemExit as end:
            code = int(str(end.code))
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.split("\n") if line], err

    return run_command


@pytest.fixture
def history(tmp_path: Path) -> str:
    (tmp_path / "history.jsonl").write_text(LINES)
    return str(tmp_path / "history.jsonl")


def test_sift_writes_a_line_for_each_session_best_first(run: Run, history: str, tmp_path: Path) -> None:
    code, rows, err = run("sift", "What is my cat?", "--sessions", history)
    assert code == 0, err
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0] | {"score": 0} == {
        "rank": 1, "index": 0, "id": "cat", "date": "2024-05-20", "score": 0, "excerpt": "user: My cat is Momo.",
        "thought": None,
    }  # fmt: skip
    assert len(list((tmp_path / "cache" / "sifter").glob("*.sqlite"))) == 1
    assert run("sift", "What is my cat?", "--sessions", "-", "--no-cache", stdin=LINES)[:2] == (0, rows)
    assert run("sift", "What is my cat?", "--sessions", history, "--top-k", "1")[1] == rows[:1]
    assert run("sift", "What is my cat?", "--sessions", history, "--min-score", "99")[:2] == (0, [])


def test_questions_come_from_stdin_with_dates_of_their_own(run: Run, history: str) -> None:
    asked = '{"question": "my\u2028cat?", "date": "2024-05-21"}\n\n{"question": "the bike?"}\n'
    code, rows, err = run("sift", "-", "--sessions", history, "--top-k", "1", "--date", "2024-06-01", stdin=asked)
    assert code == 0, err
    assert [(row["question"], row["id"]) for row in rows] == [("my\u2028cat?", "cat"), ("the bike?", "session_2")]


def test_answer_asks_the_endpoint(run: Run, history: str) -> None:
    with ScriptedServer([Say("<answer>Momo</answer>")]) as server:
        endpoint = ("--base-url", server.base_url, "--model", "m", "--top-k", "1")
        code, rows, err = run("answer", "What is my cat?", "--sessions", history, *endpoint)
    assert (code, rows) == (0, [{"answer": "Momo", "session_ids": ["cat"]}]), err
    assert "My cat is Momo." in server.prompts[0]
    assert "bike" not in server.prompts[0]


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (("x", "--sessions", "no/such.jsonl"), "", "no/such.jsonl: cannot be read (No such file or directory)"),
        (("-", "--sessions", "-"), "", "questions and sessions cannot both come from stdin"),
        (("x", "--sessions", "-"), "{}", "sessions[0]: neither 'turns' nor 'messages'"),
        (("x", "--sessions", "-"), "{", "-: line 1: not valid JSON"),
        (("x", "--sessions", "-", "--top-k", "0"), LINES, "top_k is 0"),
        (("x", "--sessions", "-", "--params", "no.yaml"), LINES, "no.yaml: no such file"),
        (("x", "--sessions", "-", "--ranker", "no/such"), LINES, "no/such: no such folder, and no reference"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, arguments: tuple[str, ...], stdin: str, problem: str) -> None:
    code, rows, err = run("sift", *arguments, stdin=stdin)
    assert (code, rows) == (1, [])
    assert f"memsifter: error: {problem}" in err
    assert "Traceback" not in err


def test_a_shell_can_complete_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "tcsh"):
        with pytest.raises(SystemExit) as end:
            main(["--print-completion", shell])
        assert end.value.code == 0
        completion = capsys.readouterr().out
        assert "sift" in completion
        assert "min-score" in completion


def test_a_collection_decides_with_the_sessions_which_words_are_rare(run: Run, history: str, tmp_path: Path) -> None:
    best = {}
    for word in ("cat", "bike"):
        # Sessions of many others who speak of a cat (a bike): the word says little about which session is meant.
        sessions = tuple(Session(f"s{n}", "", (Turn("user", f"My {word} is number{n}."),)) for n in range(20))
        haystack, question = Haystack("h", sessions), Question("q", "test", "h", "Which?", "", "", "none", ())
        write_dataset([haystack, question], tmp_path / word)
        command = ("sift", "My cat or my bike?", "--sessions", history, "--no-cache", "--top-k", "1")
        code, [row], err = run(*command, "--collection", str(tmp_path / word))
        assert code == 0, err
        best[word] = row["index"]
    assert best == {"cat": 1, "bike": 0}
    code, rows, err = run(*command, "--collection", str(tmp_path / "nothing"))
    assert (code, rows) == (1, [])
    assert f"memsifter: error: {tmp_path / 'nothing'}: no dataset of a pipeline (collection); give a folder" in err

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from memsifter.cli import main
from memsifter.io.paths import ROOT

LAYOUTS = ROOT / "tests" / "datasets" / "layouts"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process; returns exit code, stdout and stderr."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memsifter", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(str(end.code)), *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run_command


def test_a_good_file_ends_with_its_counts_and_0() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "memsifter", "data", "check", str(LAYOUTS / "conversations.jsonl")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1].endswith(
        "3 questions over 2 haystacks; 0 errors (0 questions refused), 1 warnings"
    )


def test_every_problem_is_reported_with_row_field_and_fix(tmp_path: Path, run: Run) -> None:
    good = json.loads((LAYOUTS / "conversations.jsonl").read_text().splitlines()[0])
    questions = [{"question": "?"}, *good["questions"], {"question": " ", "answer": "x"}]
    bad = {"sessions": [{"turns": [{"role": "user", "content": 5}]}], "questions": [{}, {}]}
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (good | {"questions": questions}, bad)) + '{"cut": ')
    code, out, err = run("data", "check", str(path))
    assert code == 1
    errors = [line for line in out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert f"{path}: line 1: field 'questions'[0]: field 'answer' is missing" in errors[0]
    assert "field 'questions'[3]: question 'ann-q3': empty question text [question]" in errors[1]
    assert "line 2: field 'sessions'[0][0]: field 'content': expected a string, got a whole number" in errors[2]
    assert "line 3: not valid JSON" in errors[3]
    assert out.count("\n  fix: ") == 4
    assert "2 questions over 1 haystacks; 4 errors (4 questions refused)" in out
    assert "Traceback" not in err


@pytest.mark.parametrize("layout", [path.name for path in LAYOUTS.iterdir()])
def test_the_layout_of_a_file_is_told_from_its_content(layout: str, run: Run) -> None:
    code, out, err = run("data", "check", str(LAYOUTS / layout))
    assert code == 0, out + err


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a.json").write_bytes("[]".encode("utf-16"))
    code, out, err = run("data", "check", str(tmp_path / "a.json"))
    assert (code, out) == (1, "")
    assert err.strip().endswith("the text is UTF-16; save the file as UTF-8")
    code, out, err = run("data", "check", "personamem_12k")
    assert "did you mean personamem_32k?" in err or "did you mean personamem_128k?" in err


def test_a_terminal_is_not_steered_by_what_the_file_holds(tmp_path: Path, run: Run) -> None:
    row = {"question": "\x1b[2J", "haystack_session_ids": ["\x1b[31m"], "haystack_sessions": [[]]}
    row |= {"question_id": "\x1b[2J", "answer": "x", "answer_session_ids": ["\x1b[2J"]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    code, out, _ = run("data", "check", str(tmp_path / "a.jsonl"))
    assert code == 1
    assert "\x1b" not in out


def test_the_dataset_of_the_parameters_is_checked_by_its_name(run: Run) -> None:
    code, out, err = run("data", "check", "sample")
    assert code == 0, err
    assert "240 questions over 10 haystacks" in out


def test_the_command_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"memsifter": "memsifter.cli:main"}


HEAVY = ("dvc", "hydra", "mlflow", "pandas", "pydantic", "pyarrow", "ray", "torch", "transformers", "vllm")


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from memsifter.cli import main
try:
    main(["--help"])
except SystemExit:
    print("imported:", [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


@pytest.mark.parametrize("group", ["serve", "mcp", "compose", "data", "data check", "report", "track", "bench"])
def test_every_command_has_help_with_examples(group: str, run: Run) -> None:
    code, out, _ = run(*group.split(), "--help")
    assert code == 0
    assert f"examples:\n  memsifter {group}" in out


@pytest.mark.parametrize("call", [(), ("track", "snyc"), ("track",), ("bench", "nothing"), ("data", "check")])
def test_a_wrong_call_is_a_usage_error(call: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*call)
    assert (code, out) == (2, "")
    assert err.startswith("usage: memsifter")


def test_an_unknown_reader_is_a_usage_error(run: Run) -> None:
    code, _, err = run("data", "check", str(LAYOUTS / "conversations.jsonl"), "--reader", "jsn")
    assert code == 2
    assert "'jsn' is none of" in err


def test_a_benchmark_gets_its_own_arguments(run: Run) -> None:
    code, out, _ = run("bench", "retrieval", "--help")
    assert code == 0
    assert "--questions" in out


def test_a_plan_without_a_model_says_which_folder_is_missing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run("plan", "--model", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert err == f"memsifter: error: {tmp_path / 'none'}: no such folder (--model)\n"
    monkeypatch.setattr("memsifter.io.paths.model_directory", lambda name: tmp_path / name)
    code, out, err = run("plan")
    assert (code, out) == (1, "")
    assert err.startswith(f"memsifter: error: {tmp_path / 'base'}: no such folder yet; `dvc repro` makes it")


def test_the_tracking_address_is_printed_alone(run: Run) -> None:
    code, out, err = run("track", "uri")
    assert code == 0, err
    assert len(out.splitlines()) == 1

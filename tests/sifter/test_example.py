import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from memsifter.io.paths import ROOT


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_assistant_answers_from_a_year_of_history(tmp_path: Path) -> None:
    command = [sys.executable, "examples/assistant/assistant.py", "--questions", "3"]
    command += ["--memory", str(tmp_path / "memory.sqlite")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("118 sessions from 2023/")
    answers = re.findall(r"^assistant, after [\d.]+ s: (.+)  \(right: .+\)$", done.stdout, re.MULTILINE)
    assert len(answers) == 3
    found = re.findall(r"^  ([* ]) \d{4}/\d\d/\d\d", done.stdout, re.MULTILINE)
    assert len(found) == 9
    assert "*" in found  # a session with evidence

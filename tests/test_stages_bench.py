"""What `memsifter bench stages` finds of stages whose cost is known."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.stages import stage_name, summary, watch_stages

# A stage of two processes: the second one holds the memory and keeps a core busy for a second.
_WORKER = """
import time
held = b"x" * (300 << 20)
end = time.process_time() + 1
while time.process_time() < end:
    pass
"""
_BUSY = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_WORKER!r}], check=True)\n"
_IDLE = "import time; time.sleep(1)\n"


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        (["python", "-m", "stages.rank", "base", "sample"], "rank@base-sample"),
        (["/opt/bin/python", "-m", "stages.summarize"], "summarize"),
        (["/bin/sh", "-c", "python -m stages.rank base sample"], None),  # DVC starts the stage through it
        (["python", "-m", "pip", "list"], None),
        (["python", "-m"], None),
    ],
)
def test_a_stage_is_known_by_its_command(command: list[str], stage: str | None) -> None:
    assert stage_name(command) == stage


def test_memory_and_time_of_all_processes_of_a_stage_are_counted(tmp_path: Path) -> None:
    package = tmp_path / "stages"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "busy.py").write_text(_BUSY)
    (package / "idle.py").write_text(_IDLE)
    script = f"{sys.executable} -m stages.busy a b && {sys.executable} -m stages.idle && true"
    run = subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path)
    busy, idle = watch_stages(psutil.Process(run.pid), interval=0.05)
    assert run.wait() == 0
    assert (busy.stage, idle.stage) == ("busy@a-b", "idle")
    assert busy.peak_gib == pytest.approx(0.3, abs=0.1)
    assert idle.peak_gib < 0.1
    assert busy.cpu_seconds > 0.5 > idle.cpu_seconds
    assert idle.seconds > 0.8
    assert (busy.processes, idle.processes) == (2, 1)
    last = summary([busy, idle]).splitlines()[-1]
    assert last.split("|")[1].strip() == "all"

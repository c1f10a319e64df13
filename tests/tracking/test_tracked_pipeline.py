import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

PROJECT = Path(__file__).resolve().parents[2]
DVC_YAML = """
stages:
  rank:
    cmd: python -m stages.copy source.txt ranking.txt
    deps: [source.txt]
    outs: [ranking.txt]
  summarize:
    cmd: python -m stages.copy ranking.txt summary.txt
    deps: [ranking.txt, stages]
    outs: [summary.txt]
"""
STAGE = """
import os, shutil
from memsifter.command import run_stage

def main(params, source, target):
    shutil.copy(source, target)
    return {"bytes": os.path.getsize(target)}

if __name__ == "__main__":
    run_stage(main)
"""


@pytest.mark.slow
def test_dvc_repro_is_one_run_with_all_its_stages(root: Path, runs: Callable[[], list[Any]]) -> None:
    shutil.copytree(PROJECT / "memsifter", root / "memsifter", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "configs" / "prompts", root / "configs" / "prompts")
    shutil.copy(PROJECT / "params.yaml", root)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "source.txt").write_text("some text")
    (root / "stages").mkdir()
    (root / "stages" / "copy.py").write_text(STAGE)
    Repo.init(str(root), no_scm=True).close()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for change in ("", "# an edit\n"):
        with (root / "stages" / "copy.py").open("a") as stream:
            stream.write(change)
        subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=root, env=environment, check=True)
    first, rank, summarize, second, again = runs()
    for parent, children in ((first, (rank, summarize)), (second, (again,))):
        assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert [run.data.tags.get("stage") for run in (rank, summarize, again)] == ["rank", "summarize", "summarize"]
    assert second.data.tags["out.ranking.txt"] == rank.data.tags["out.ranking.txt"], "what did not have to run"
    assert {run.info.status for run in runs()} == {"FINISHED"}

"""A stage starts with what every run of it needs; libraries that take seconds to import wait until they are used."""

import subprocess
import sys

import pytest

from memsifter.io.paths import ROOT

SLOW_TO_IMPORT = {"FlagEmbedding", "mlflow", "openai", "ray", "torch", "transformers", "verl", "vllm"}
EVERY_RUN_NEEDS = {"merge": {"torch"}}
# Each stage in a process of its own, forked from one that has what all share.
IMPORT_EACH = f"""
import importlib, os, sys
import memsifter.command

for stage in sys.argv[1:]:
    if os.fork() == 0:
        try:
            importlib.import_module(f"stages.{{stage}}")
            print(stage, *sorted({SLOW_TO_IMPORT} & sys.modules.keys()), flush=True)
        finally:
            os._exit(0)
    os.wait()
"""


@pytest.mark.slow
def test_stages_import_no_more_than_every_run_of_them_needs() -> None:
    stages = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
    assert {"order", "score", "evaluate", "summarize", "collect", "train"} <= set(stages)
    command = [sys.executable, "-c", IMPORT_EACH, *stages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name: set(modules) for name, *modules in map(str.split, done.stdout.splitlines())}
    assert imported == {stage: EVERY_RUN_NEEDS.get(stage, set()) for stage in stages}, done.stderr

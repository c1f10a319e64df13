"""The real verl, vLLM and Ray, with a model of 360,000 parameters."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memsifter.paths import ROOT
from memsifter.training.run_directory import RunDirectory

SCRIPT = """
import sys
from pathlib import Path
from training_inputs import ENGINE, LOCAL, train_params, write_inputs
from memsifter.training.launch import run_training
from memsifter.training.run_directory import RunDirectory
from memsifter.training.verl_config import compose_config

inputs = write_inputs(Path(sys.argv[1]) / "inputs")
train = train_params()
config = compose_config(inputs, train, ENGINE, LOCAL)
run = RunDirectory(Path(sys.argv[1]) / "run")
run_training(config, train, ENGINE, LOCAL, run, lambda step, metrics: print("step", step, flush=True))
"""


def start(directory: Path) -> subprocess.Popen[str]:
    paths = os.pathsep.join((str(ROOT), str(Path(__file__).parents[1])))
    command = [sys.executable, "-c", SCRIPT, str(directory)]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_training_that_is_killed_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    first = start(tmp_path)
    try:
        while not run.latest_step():
            assert first.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.2)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    assert run.latest_step() == 1

    second = start(tmp_path)
    output, _ = second.communicate()
    assert second.returncode == 0
    assert "Resuming from" in run.attempt("log", 2).read_text()
    assert output.splitlines()[-1] == "step 2"
    assert run.latest_step() == 2
    assert set(run.validation_rewards()) >= {1, 2}
    history = run.history()
    assert "reward/letters/mean" in history[2]
    assert "actor/pg_clipfrac" in history[2]
    # Step 1 was not trained again.
    assert '"step":1,"data":{"reward/' not in run.attempt("jsonl", 2).read_text()
    assert run.publish(tmp_path / "checkpoints")[-1] == 2

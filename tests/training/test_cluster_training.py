"""Training through a real Ray head: its job server, and its address."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_head import Head, ray_head

from memsifter.params import ClusterParams
from memsifter.training.trainer import training_lock

ROOT = Path(__file__).parents[2]
CPUS = 9  # what verl's actors ask for with one process, and one for the entry point

# A process of its own: Ray keeps the token and the cluster of the first use for the life of a process.
TRAIN = """
import json, sys
from pathlib import Path
from training_inputs import ENGINE, train_params, write_inputs
from memsifter.params import ClusterParams
from memsifter.training.launch import run_training
from memsifter.training.run_directory import RunDirectory
from memsifter.training.verl.config import compose_config

folder, cluster = Path(sys.argv[1]), ClusterParams(**json.loads(sys.argv[2]))
inputs = write_inputs(folder, train_rows=2, test_rows=1)
train = train_params(steps=1, rollouts=2, advantage="gdpo", loss="cispo", importance_weights="token")
run = RunDirectory(folder / "run")
seen = []
config = compose_config(inputs, train, ENGINE, cluster)
run_training(config, train, ENGINE, cluster, run, lambda step, metrics: seen.append(step))
rollouts = [json.loads(line) for line in (run.rollouts / "1.jsonl").read_text().splitlines()]
print(json.dumps({"steps": seen, "saved": run.saved_steps(), "metrics": run.history()[1], "rollouts": rollouts}))
"""
WARM_START = """
import json, sys
from pathlib import Path
from test_warm_start import write_inputs
from training_inputs import ENGINE, train_params
from memsifter.params import ClusterParams
from memsifter.params.training import WarmStartParams
from memsifter.training.warm_start import warm_start

folder, cluster = Path(sys.argv[1]), ClusterParams(**json.loads(sys.argv[2]))
inputs, params, seen = write_inputs(folder), WarmStartParams(steps=1, batch_size=2, learning_rate=1e-3), []
out = warm_start(
    inputs, params, train_params(), ENGINE, cluster, folder / "run" / "w", lambda step, _: seen.append(step)
)
log, = (folder / "run").rglob("sft.log")
print(json.dumps({"steps": seen, "made": (out / "model.safetensors").is_file(), "log": log.read_text()}))
"""
SUBMIT = """
import json, sys, time
from pathlib import Path
from memsifter.training.jobs import RayJob

command = [sys.executable, "-c", "import os, ray; ray.init('auto', runtime_env={'env_vars': {'A': '1', 'B': '2'}});"
           "print('joined', os.environ['A'])"]
job = RayJob(json.loads(sys.argv[2])["job_server"], "run", command, Path(sys.argv[1]) / "log", {"A": "1"})
while (code := job.poll()) is None:
    time.sleep(0.2)
print(json.dumps({"code": code, "log": (Path(sys.argv[1]) / "log").read_text()}))
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head(CPUS) as found:
        yield found


def run_script(script: str, folder: Path, cluster: dict[str, str], environment: dict[str, str]) -> Any:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "training")))}
    command = [sys.executable, "-c", script, str(folder), json.dumps(cluster)]
    done = subprocess.run(
        command, env=inherited | path | environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_may_give_ray_the_variables_that_it_has_itself(head: Head, tmp_path: Path) -> None:
    found = run_script(SUBMIT, tmp_path, {"job_server": head.job_server}, head.environment)
    assert (found["code"], "joined 1" in found["log"]) == (0, True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_token_that_is_not_the_clusters_is_one_line(head: Head, tmp_path: Path) -> None:
    environment = head.environment | {"RAY_AUTH_TOKEN": "0" * 48}
    with pytest.raises(AssertionError, match="wants the token of its cluster; set RAY_AUTH_MODE=token"):
        run_script(SUBMIT, tmp_path, {"job_server": head.job_server}, environment)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tiny_model_is_trained_as_a_job_with_the_newer_switches(head: Head, tmp_path: Path) -> None:
    # A job does not wait for trainings of this machine, but the tests' memory is not enough for two.
    with training_lock(ClusterParams(num_cpus=2, num_gpus=0)):
        found = run_script(TRAIN, tmp_path, {"job_server": head.job_server}, head.environment)
    assert (found["steps"], found["saved"]) == ([0, 1], [1])
    metrics = found["metrics"]
    assert metrics["actor/grad_norm"] > 0, "GDPO's advantages reach the weights"
    assert metrics["rollout_corr/rollout_is_mean"] == pytest.approx(1, abs=0.01), (
        "token importance weights are computed"
    )
    assert metrics["reward/answer_part/mean"] == pytest.approx(metrics["reward/score/mean"] / 4)
    assert len(found["rollouts"]) == 4
    assert sum(row["score"] for row in found["rollouts"]) / 4 == pytest.approx(metrics["critic/rewards/mean"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["job_server", "address"])
def test_a_warm_start_runs_where_training_runs(way: str, head: Head, tmp_path: Path) -> None:
    found = run_script(WARM_START, tmp_path, {way: getattr(head, way)}, head.environment)
    assert (found["steps"], found["made"]) == ([1], True)
    where = {"job_server": "Running entrypoint for job", "address": "(run pid="}[way]
    assert where in found["log"]

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Ray's own start, with a core process that ends at once: what Ray does on a machine too busy to start it.
START = """
import ray._private.services
from memsifter.command import command
from memsifter.llm.runtime import start_ray
from memsifter.params import ClusterParams

ray._private.services.GCS_SERVER_EXECUTABLE = "/bin/false"
with command():
    start_ray(ClusterParams(num_cpus=1, num_gpus=0))
"""


@pytest.mark.slow
def test_a_ray_that_does_not_start_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", START], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert error.startswith("memsifter: error: Ray did not start on this machine in time (Timed out waiting for file")

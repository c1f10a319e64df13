import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_checkpoints import make_model, read_state

SHARD_MIB = 32
MEASURED_MERGE = """
import sys
from pathlib import Path
from memsifter.checkpoints.merge import merge_checkpoints

out, shard_bytes, *checkpoints = sys.argv[1:]
merge_checkpoints([Path(path) for path in checkpoints], Path(out), shard_bytes=int(shard_bytes))
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def measure_peak(checkpoints: Sequence[Path], out: Path) -> float:
    """Peak resident memory in MiB of a process that merges the checkpoints."""
    arguments = [str(out), str(SHARD_MIB << 20), *map(str, checkpoints)]
    command = [sys.executable, "-c", MEASURED_MERGE, *arguments]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.mark.slow
def test_memory_is_that_of_a_tensor_and_a_shard_not_of_the_models(tmp_path: Path) -> None:
    tiny = [make_model(tmp_path / f"tiny{seed}", seed) for seed in range(3)]
    large = [make_model(tmp_path / "large", hidden=2048)]
    large += [Path(shutil.copytree(large[0], tmp_path / f"large{copy}")) for copy in (1, 2)]  # no value matters here
    sizes = [tensor.nbytes / 2**20 for tensor in read_state(large[0]).values()]
    peak = measure_peak(large, tmp_path / "merged") - measure_peak(tiny, tmp_path / "idle")
    assert peak < 1.5 * (max(sizes) + SHARD_MIB)
    assert 1.5 * (max(sizes) + SHARD_MIB) < sum(sizes) / 2, "a bound that one loaded model would also keep says nothing"
    assert peak > SHARD_MIB / 2, "the measurement misses what the merge holds"

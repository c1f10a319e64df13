"""Once more as an older CPU would compute: no result may hang on the last bits of one kind.

Such a CPU itself runs these tests as they are.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from memsifter.io.paths import ROOT

# NumPy's matrix products and PyTorch's as on a machine without AVX-512.
OLDER = {"OPENBLAS_CORETYPE": "Haswell", "ONEDNN_MAX_CPU_ISA": "AVX2"}
CPU_FLAGS = Path("/proc/cpuinfo")
FLOATING_POINT = ("tests/retrieval", "tests/fusion", "tests/metrics")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the older CPU is one of x86-64")
@pytest.mark.skipif(
    CPU_FLAGS.is_file() and "avx512f" not in CPU_FLAGS.read_text().split(), reason="this CPU is such an older one"
)
def test_results_are_the_same_as_an_older_cpu_computes_them() -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not pipeline"]
    done = subprocess.run(
        [*command, *FLOATING_POINT], cwd=ROOT, env=inherited | OLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

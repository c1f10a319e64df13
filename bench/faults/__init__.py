"""Deliberate damage, and what comes of it: `python -m bench.faults --help`."""

import sys

from memsifter.io.paths import ROOT

# The damage is that of the tests: their scripted server, damaged data and clones.
sys.path[:0] = [path for path in (str(ROOT / "tests"), str(ROOT / "tests" / "pipeline")) if path not in sys.path]

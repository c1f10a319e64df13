"""Gives Hydra the defaults of the typed parameters, wherever it composes `configs/` (`hydra.plugins_path` of DVC)."""

import sys
from pathlib import Path

# DVC may run with another checkout of the project installed: the parameters are those beside these configs.
ROOT = str(Path(__file__).resolve().parents[2])

sys.path.insert(0, ROOT)
try:
    from memsifter.params.compose import register_defaults
finally:
    sys.path.remove(ROOT)

register_defaults()

"""Metrics as verl's `file` logger writes them: one JSON line per step, `{"step": 3, "data": {name: value}}`."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

Metrics = dict[str, float]
"""Metrics of one step by verl's names, such as `critic/rewards/mean`."""

_VALIDATION_REWARD = re.compile(r"val-(?:core|aux)/.+/reward/mean@\d+")


class MetricsTail:
    """Reads the lines that were added since the last look; a line that is still being written waits for the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[tuple[int, Metrics]]:
        """New steps and their metrics; the file need not exist yet."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                entry = json.loads(line)
                yield entry["step"], _numbers(entry["data"])


def validation_reward(metrics: Mapping[str, float]) -> float | None:
    """Mean validation reward over datasets, None for a step that was not tested."""
    rewards = [value for name, value in metrics.items() if _VALIDATION_REWARD.fullmatch(name)]
    return fmean(rewards) if rewards else None


def _numbers(data: Mapping[str, object]) -> Metrics:
    """Finite numbers only: verl writes null for NaN, and a few entries are no numbers."""
    return {
        name: float(value)
        for name, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }

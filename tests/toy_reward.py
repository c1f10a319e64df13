"""A reward that an untrained model earns different amounts of: the share of letters from the alphabet's first half."""

import json
from typing import Any


def compute_score(solution_str: str, settings: str, **_: Any) -> dict[str, float]:
    if json.loads(settings) != {"metric": "toy"}:
        raise ValueError(f"settings arrived as {settings!r}")
    share = sum(letter in "abcdefghijklm" for letter in solution_str) / max(len(solution_str), 1)
    return {"score": share, "acc": share, "answer_part": share / 4, "letters": float(len(solution_str))}

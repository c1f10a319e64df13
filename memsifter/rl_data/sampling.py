"""Which questions a round takes: seeded, of exact size, and the same whatever the order of the input."""

import hashlib
import json
from collections.abc import Iterable, Mapping

_DIGITS = 9  # differences that are equal on paper differ in their last bits: .8 - .7 and .7 - .6


def order_by_hash(names: Iterable[str], seed: int) -> list[str]:
    """A seeded random order: by the SHA-256 of seed and name, the same on every machine.

    Raises:
        ValueError: a name appears twice.
    """
    given = list(names)
    if len(set(given)) < len(given):
        raise ValueError("names repeat; each can be drawn once")
    return sorted(given, key=lambda name: hashlib.sha256(json.dumps([seed, name]).encode()).digest())


def sample_random(names: Iterable[str], count: int, seed: int) -> list[str]:
    """`count` names, all equally likely, in the order drawn.

    Raises:
        ValueError: fewer names than `count`, or one appears twice.
    """
    return _take(order_by_hash(names, seed), count)


def sample_near(scores: Mapping[str, float], anchor: float, count: int, seed: int) -> list[str]:
    """The `count` names of highest priority 1 - |score - anchor|, highest first; ties in seeded random order.

    Args:
        scores: NDCG@10 of each question's ranking.
        anchor: the score that is preferred: hard, but not hopeless.
        count: how many to take.
        seed: orders names of equal priority.

    Raises:
        ValueError: fewer names than `count`.
    """
    priorities = {name: round(1 - abs(score - anchor), _DIGITS) for name, score in scores.items()}
    return _take(sorted(order_by_hash(scores, seed), key=lambda name: -priorities[name]), count)


def _take(names: list[str], count: int) -> list[str]:
    if count > len(names):
        raise ValueError(f"{count} names asked for, {len(names)} given")
    return names[:count]

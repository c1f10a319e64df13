"""Which questions a round takes: seeded, of exact size, and the same whatever the order of the input."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memsifter.corpus.sessions import Question, Split
from memsifter.errors import MemSifterError
from memsifter.io.files import column_by, read_parquet
from memsifter.metrics.retrieval import ndcg
from memsifter.params import DrawParams
from memsifter.rl_data.eligibility import Drop, Eligibility, EligibleQuestion

NDCG_K = 10

Method = Literal["anchor", "random"]

_DIGITS = 9  # differences that are equal on paper differ in their last bits: .8 - .7 and .7 - .6


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """What became of the questions of one split.

    available = the sum of `dropped` + train + test + not_drawn.
    """

    available: int
    dropped: Mapping[Drop, int]
    train: int
    test: int

    @property
    def not_drawn(self) -> int:
        """Questions that could be trained on and were not taken."""
        return self.available - sum(self.dropped.values()) - self.train - self.test


@dataclass(frozen=True, slots=True)
class Drawn:
    """The questions taken, in the order drawn, and how the train questions were sampled."""

    train: list[EligibleQuestion]
    test: list[EligibleQuestion]
    method: Method


def load_rankings(path: Path, questions: Sequence[Question]) -> dict[str, list[str]] | None:
    """The rankings (session ids, best first) of these questions, or None where the file holds none of them.

    They are the ranker's own, whatever weight the fusion gave it: its order of the candidates, then the other sessions.

    Raises:
        MemSifterError: the file is missing or broken, or holds only some of the questions.
    """
    table = read_parquet(path, ["question_id", "own_order", "ranking"])
    own, rankings = (column_by(table, "question_id", column) for column in ("own_order", "ranking"))
    missing = [question.question_id for question in questions if question.question_id not in rankings]
    if not missing:
        names = [question.question_id for question in questions]
        return {name: list(dict.fromkeys([*own[name], *rankings[name]])) for name in names}
    if len(missing) == len(questions):
        return None
    raise MemSifterError(
        f"{path}: {len(missing)} of {len(questions)} {questions[0].split} questions have no ranking, "
        f"{missing[0]!r} among them; run the rank stage of this ranker and dataset again"
    )


def measure_ndcg(question: Question, ranking: Sequence[str]) -> float:
    """NDCG@10 of a ranking."""
    return ndcg(set(question.answer_session_ids), ranking, NDCG_K)


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
        raise ValueError(f"{count} names requested, {len(names)} given")
    return names[:count]


def draw_questions(
    eligibility: Eligibility,
    rankings: Mapping[str, Sequence[str]] | None,
    draw: DrawParams,
    anchor: float,
    seed: int,
    key: str,
) -> Drawn:
    """Draw the test questions, then the train questions from the rest.

    The test questions are drawn at random, so that they look like all questions and not like the preferred ones.

    Args:
        eligibility: the questions that can be trained on.
        rankings: of the train questions; given, those with NDCG@10 near the anchor are preferred.
        draw: how many to take.
        anchor: the preferred NDCG@10.
        seed: of all random choices.
        key: of `draw` in params.yaml, for messages.

    Raises:
        MemSifterError: fewer eligible questions than `draw` takes.
    """
    pool = eligibility.eligible[draw.test_split]
    _require(len(pool), draw.test, draw.test_split, f"{key}.test", eligibility)
    test = {name: pool[name] for name in sample_random(pool, draw.test, seed)}
    candidates = eligibility.eligible["train"]
    left = {name: item for name, item in candidates.items() if draw.test_split != "train" or name not in test}
    _require(len(left), draw.train, "train", f"{key}.train", eligibility)
    if rankings is None:
        train = sample_random(left, draw.train, seed)
    else:
        scores = {name: measure_ndcg(item.question, rankings[name]) for name, item in left.items()}
        train = sample_near(scores, anchor, draw.train, seed)
    return Drawn([left[name] for name in train], list(test.values()), "random" if rankings is None else "anchor")


def count_split(split: Split, eligibility: Eligibility, drawn: Drawn) -> SplitCounts:
    """What became of the questions of a split."""
    dropped = eligibility.dropped[split]
    return SplitCounts(
        available=len(eligibility.eligible[split]) + sum(dropped.values()),
        dropped=dropped,
        train=sum(item.question.split == split for item in drawn.train),
        test=sum(item.question.split == split for item in drawn.test),
    )


def _require(left: int, count: int, split: Split, key: str, eligibility: Eligibility) -> None:
    if count <= left:
        return
    reasons = [f"{number} {reason}" for reason, number in eligibility.dropped[split].items()]
    eligible = len(eligibility.eligible[split])
    taken = f", {eligible - left} of them are taken for test" if eligible > left else ""
    raise MemSifterError(
        f"{key} asks for {count} questions; {eligible} of the {split} split are eligible{taken} "
        f"(dropped: {', '.join(reasons) or 'none'}); ask for {left} at most"
    )

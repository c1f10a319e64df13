"""Put a dataset's questions into train and test."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from memsifter.corpus.records import Record, Refusal
from memsifter.corpus.sessions import Haystack, Question
from memsifter.errors import MemSifterError


def assign_haystacks(records: Iterable[Record], train: frozenset[str], dataset: str) -> Iterator[Record]:
    """Put the questions of the haystacks `train` into the train split.

    Raises:
        MemSifterError: a haystack does not exist (when the records end).
    """
    missing = set(train)
    for record in records:
        if isinstance(record, Haystack):
            missing.discard(record.haystack_id)
        yield replace(record, split="train") if isinstance(record, Question) and record.haystack_id in train else record
    if missing:
        raise MemSifterError(
            f"datasets.{dataset}.train_haystacks: no haystack {', '.join(sorted(missing))}; "
            "name ids that the dataset has (haystacks.parquet lists them)"
        )


def draw_questions(records: Iterable[Record], train_fraction: float, seed: int) -> Iterator[Record]:
    """Draw questions for the train split, the others are for testing; questions come after everything else.

    The draw is that of the paper's split of LongMemEval: the file's questions are shuffled by Python's generator with
    this seed, and the first `train_fraction` of them, rounded down, are for training. A refused question keeps its
    place, so that the others do not change sides.
    """
    questions: list[Question | None] = []
    for record in records:
        if isinstance(record, Question):
            questions.append(record)
        else:
            questions += [None] * (record.questions if isinstance(record, Refusal) else 0)
            yield record
    order = list(range(len(questions)))
    Random(seed).shuffle(order)
    train = set(order[: int(len(order) * train_fraction)])
    for number, question in enumerate(questions):
        if question is not None:
            yield replace(question, split="train" if number in train else "test")

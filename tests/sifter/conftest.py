from collections.abc import Iterator
from typing import Any

import pytest

from bench.memory import HashedEncoder
from memsifter.corpus.sessions import Haystack, Question, Session
from memsifter.datasets.sample.reader import SampleReader
from memsifter.sifter.sifter import Sifter


@pytest.fixture
def encoder() -> HashedEncoder:
    """Vectors that count words: a question is near the texts that share its words."""
    return HashedEncoder()


@pytest.fixture
def sifter(encoder: HashedEncoder) -> Iterator[Sifter]:
    with Sifter(encoder) as made:
        yield made


@pytest.fixture(scope="session")
def sample() -> tuple[Haystack, list[Question]]:
    """One generated user with thirty sessions, and ten questions."""
    records = list(SampleReader(reader="sample", seed=3, haystacks=1, train_fraction=0.0).generate())
    return (
        next(record for record in records if isinstance(record, Haystack)),
        [record for record in records if isinstance(record, Question)],
    )


def as_dict(session: Session) -> dict[str, Any]:
    turns = [{"role": turn.role, "content": turn.content} for turn in session.turns]
    return {"id": session.session_id, "date": session.date, "turns": turns}


@pytest.fixture(scope="session")
def history(sample: tuple[Haystack, list[Question]]) -> list[dict[str, Any]]:
    """The sessions of the generated user as an application holds them."""
    return [as_dict(session) for session in sample[0].sessions]

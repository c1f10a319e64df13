import random

from memsifter.corpus.records import Position, Record, Refusal
from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.datasets.longmemeval import draw_questions

HAYSTACK = Haystack("h", (Session("s", "", (Turn("user", "x"),)),))


def questions_of(count: int) -> list[Record]:
    return [HAYSTACK, *(Question(f"q{n}", "test", "h", "?", "", "x", "c", ()) for n in range(count))]


def train_ids(records: list[Record]) -> set[str]:
    return {r.question_id for r in draw_questions(records, 0.7, 42) if isinstance(r, Question) and r.split == "train"}


def test_the_draw_is_a_seeded_shuffle_of_the_files_order() -> None:
    """What the paper's authors do: shuffle the 500 entries with seed 42, train on the first 70 %."""
    entries = [f"q{number}" for number in range(500)]
    random.seed(42)
    random.shuffle(entries)
    assert train_ids(questions_of(500)) == set(entries[:350])


def test_a_refused_question_moves_no_other() -> None:
    whole = questions_of(50)
    broken = [Refusal("row 8", "", "bad", "", 1) if record == whole[8] else record for record in whole]
    assert train_ids(broken) == train_ids(whole) - {"q7"}


def test_nothing_is_lost_and_haystacks_come_first() -> None:
    haystack, *questions = questions_of(10)
    places = [Position(f"row {number}") for number in range(10)]
    rows = [record for pair in zip(places, questions, strict=True) for record in pair]
    records = list(draw_questions([Position("row 0"), haystack, *rows], 0.7, 1))
    assert records[:12] == [Position("row 0"), HAYSTACK, *places]
    assert records[12::2] == places
    assert [record.question_id for record in records[13::2] if isinstance(record, Question)] == [
        f"q{n}" for n in range(10)
    ]

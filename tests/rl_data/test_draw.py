"""Which questions can be trained on, how many of them are drawn, and what is said when they do not suffice."""

import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import rl_samples as samples

from memsifter.corpus.sessions import Question, Split
from memsifter.errors import MemSifterError
from memsifter.io.files import write_parquet
from memsifter.rl_data.draw import load_rankings
from memsifter.rl_data.eligibility import Drop

# One of every kind that is left out; the long session s7 does not fit 4,000 tokens, and 5 candidates are shown.
DROPPED = [
    samples.question(100, answer=" "),
    samples.question(101, gold=()),
    samples.question(102, gold=(), answer=""),
    samples.question(103, category="abstention", gold=()),
    samples.question(104, gold=(7, 0)),
    samples.question(105, gold=(0, 1, 2, 3, 4, 5)),
    samples.question(106, "test", answer=""),
]
RANKINGS = pa.schema(
    [("question_id", pa.string()), *((name, pa.list_(pa.string())) for name in ("own_order", "ranking"))]
)


def test_questions_are_dropped_for_a_reason_and_all_are_counted(tmp_path: Path) -> None:
    asked = [*samples.questions(train=12, test=6), *DROPPED]
    dataset = samples.write_sample(asked, tmp_path / "data")
    prepared = samples.prepare(dataset, train=5, test=3, test_split="test")
    assert prepared.counts["train"].dropped == {
        Drop.ABSTENTION: 1,
        Drop.NO_ANSWER: 2,
        Drop.NO_GOLD: 1,
        Drop.TOO_MANY_GOLD: 1,
        Drop.GOLD_TOO_LONG: 1,
    }
    assert prepared.counts["test"].dropped == {Drop.NO_ANSWER: 1}
    available = Counter(question.split for question in asked)
    taken: dict[Split, tuple[int, int]] = {"train": (5, 0), "test": (0, 3)}
    for split, numbers in taken.items():
        counts = prepared.counts[split]
        assert (counts.train, counts.test) == numbers
        assert counts.available == available[split] == sum((*counts.dropped.values(), *numbers, counts.not_drawn))


@pytest.mark.parametrize(("spare", "dropped"), [(-1, True), (0, True), (1, False)])
def test_a_question_needs_room_for_a_session_in_the_working_llms_prompt(
    spare: int, dropped: bool, tmp_path: Path
) -> None:
    dataset = samples.write_sample(samples.questions(train=4, test=0), tmp_path / "data")
    info = samples.prepare(dataset, train=3, test=1).train[0]["extra_info"]
    text = info["session_tokens"][0] - len(info["sessions"][0].encode())  # the heading
    needed = 4000 - info["context_tokens"] + text
    models = samples.models(context_tokens=needed + spare)
    if dropped:
        with pytest.raises(MemSifterError, match="4 no_room_to_answer"):
            samples.prepare(dataset, models, train=3, test=1)
    else:
        row = samples.prepare(dataset, models, train=3, test=1).train[0]
        assert {len(session) for session in row["extra_info"]["sessions"]} == {1}


def test_too_few_questions_are_one_clear_error(tmp_path: Path) -> None:
    dataset = samples.write_sample([*samples.questions(), *DROPPED], tmp_path / "data")
    message = (
        "rounds.round1.recipe.tiny.train asks for 10 questions; 12 of the train split are eligible, 3 of them are "
        "taken for test (dropped: 1 abstention, 2 no_answer, 1 no_gold, 1 too_many_gold, 1 gold_too_long); ask for 9 "
        "at most"
    )
    with pytest.raises(MemSifterError, match=f"^{re.escape(message)}$"):
        samples.prepare(dataset, train=10, test=3)
    message = r"tiny\.test asks for 7 questions; 6 of the test split are eligible \(dropped: 1 no_answer\); ask for 6"
    with pytest.raises(MemSifterError, match=message):
        samples.prepare(dataset, train=10, test=7, test_split="test")
    prepared = samples.prepare(dataset, train=9, test=3)
    assert prepared.counts["train"].not_drawn == 0


def write_rankings(path: Path, names: list[str]) -> Path:
    row = {"own_order": ["s1", "s2"], "ranking": ["s2", "s1", "s0"]}  # the fusion moved s2 up
    write_parquet(path, [{"question_id": name, **row} for name in names], RANKINGS)
    return path


def test_rankings_count_when_they_hold_all_questions_or_none(tmp_path: Path) -> None:
    asked: list[Question] = [samples.question(number) for number in range(3)]
    names = [question.question_id for question in asked]
    path = tmp_path / "rankings.parquet"
    assert load_rankings(write_rankings(path, ["test-1"]), asked) is None
    assert load_rankings(write_rankings(path, ["test-1", *names]), asked) == {
        name: ["s1", "s2", "s0"] for name in names
    }, "the ranker's own order, not the fused one"
    message = r"rankings\.parquet: 2 of 3 train questions have no ranking, 'train-0' among them; run the rank stage"
    with pytest.raises(MemSifterError, match=message):
        load_rankings(write_rankings(path, names[1:2]), asked)
    with pytest.raises(MemSifterError, match=r"absent\.parquet: no such file"):
        load_rankings(tmp_path / "absent.parquet", asked)

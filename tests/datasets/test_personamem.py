import csv
import shutil
from pathlib import Path

import pytest

from memsifter.corpus.records import Issue, Record, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question
from memsifter.datasets.io.rows import iter_csv
from memsifter.datasets.personamem import PersonaMemReader

LAYOUT = Path(__file__).parent / "layouts" / "personamem"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(LAYOUT, tmp_path / "personamem")
    return tmp_path / "personamem"


def edit_question(folder: Path, number: int, field: str, value: str) -> None:
    rows = [row.fields() for row in iter_csv(folder / "questions_32k.csv")]
    rows[number][field] = value
    with (folder / "questions_32k.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read(folder: Path) -> list[Record]:
    return list(validate(PersonaMemReader().read(folder)))


def test_context_blocks_become_sessions_up_to_the_place_of_the_question() -> None:
    haystacks = {
        record.haystack_id: record
        for record in require_valid(PersonaMemReader().read(LAYOUT))
        if isinstance(record, Haystack)
    }
    whole, cut = haystacks["c0ffee:12"], haystacks["c0ffee:8"]
    assert [len(session.turns) for session in whole.sessions] == [4, 2, 3]
    assert cut.sessions == whole.sessions[:2]
    assert all(turn.role != "system" for session in whole.sessions for turn in session.turns)


def test_options_and_the_right_one_are_kept() -> None:
    questions = {r.question_id: r for r in require_valid(PersonaMemReader().read(LAYOUT)) if isinstance(r, Question)}
    assert questions["u-2"].options == ("(a) A spelt loaf.", '(b) A rye loaf, "grey" crust and all.')
    assert questions["u-1"].answer == "(b) Something with rye, as you knead it by hand."
    assert questions["u-3"].question == "Any advice for\nthe wall?"
    assert questions["u-4"].category == "recall_user_shared_facts"


def test_gold_is_the_session_at_the_distance_of_the_reference() -> None:
    gold = {
        record.question_id: record.answer_session_ids
        for record in require_valid(PersonaMemReader().read(LAYOUT))
        if isinstance(record, Question)
    }
    assert gold == {"u-1": ("session_1",), "u-2": ("session_3",), "u-3": ("session_2",), "u-4": ("session_1",)}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("end_index_in_shared_context", "99", "'end_index_in_shared_context' is 99, the context has 12 messages"),
        ("end_index_in_shared_context", "x", "'x' is not a number"),
        ("shared_context_id", "gone", "no usable context 'gone'"),
        ("correct_answer", "(e)", r"the answer '\(e\)' is none of the 2 options"),
        ("all_options", "one, two", "field 'all_options': cannot be read as a list"),
        ("user_question_or_message", " ", "empty question text"),
    ],
)
def test_a_bad_row_is_refused_alone(folder: Path, field: str, value: str, message: str) -> None:
    edit_question(folder, 0, field, value)
    records = read(folder)
    (refusal,) = (record for record in records if isinstance(record, Refusal))
    assert refusal.questions == 1
    assert "questions_32k.csv: row 1" in str(refusal)
    with pytest.raises(Exception, match=message):
        list(require_valid(PersonaMemReader().read(folder)))
    assert sum(isinstance(record, Question) for record in records) == 3


def test_a_broken_context_costs_its_questions_and_no_others(folder: Path) -> None:
    lines = (folder / "shared_contexts_32k.jsonl").read_text().splitlines()
    (folder / "shared_contexts_32k.jsonl").write_text(f"{lines[0][:-9]}\n{lines[1]}\n")
    records = read(folder)
    assert sum(record.questions for record in records if isinstance(record, Refusal)) == 3
    assert [record.question_id for record in records if isinstance(record, Question)] == ["u-4"]


def test_the_real_questions_are_read(shared_data: Path, tmp_path: Path) -> None:
    shutil.copy(shared_data / "personamem" / "questions_32k.csv", tmp_path)
    (tmp_path / "shared_contexts_32k.jsonl").write_text('{"none": [{"role": "user", "content": "x"}]}\n')
    refusals = [record for record in read(tmp_path) if isinstance(record, Refusal)]
    assert len(refusals) == sum(refusal.questions for refusal in refusals) == 589  # no contexts are at hand
    rows = [row.fields() for row in iter_csv(tmp_path / "questions_32k.csv")]
    with (shared_data / "personamem" / "questions_32k.csv").open(newline="", encoding="utf-8") as stream:
        assert rows == list(csv.DictReader(stream))


def test_every_real_question_fits_a_context_of_its_length(shared_data: Path, tmp_path: Path) -> None:
    """The contexts are invented: as many messages as the questions say, in blocks of twelve."""
    shutil.copy(shared_data / "personamem" / "questions_32k.csv", tmp_path)
    lengths: dict[str, int] = {}
    for row in iter_csv(tmp_path / "questions_32k.csv"):
        fields = row.fields()
        name, end = fields["shared_context_id"], int(fields["end_index_in_shared_context"])
        lengths[name] = max(end, lengths.get(name, 0))
    with (tmp_path / "shared_contexts_32k.jsonl").open("w") as stream:
        for name, length in lengths.items():
            roles = ["system" if number % 12 == 0 else ("user", "assistant")[number % 2] for number in range(length)]
            messages = ", ".join(f'{{"role": "{role}", "content": "message {i}"}}' for i, role in enumerate(roles))
            stream.write(f'{{"{name}": [{messages}]}}\n')
    records = read(tmp_path)
    assert not [record for record in records if isinstance(record, Refusal)]
    questions = [record for record in records if isinstance(record, Question)]
    assert len(questions) == 589
    assert all(len(question.options) == 4 and question.answer in question.options for question in questions)
    assert sum(isinstance(record, Issue) and record.kind == "gold_from_distance" for record in records) == 589

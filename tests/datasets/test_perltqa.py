import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.datasets.perltqa import PerLtqaReader

LAYOUTS = Path(__file__).parent / "layouts"


def test_every_kind_of_memory_is_a_session() -> None:
    (haystack,) = (r for r in require_valid(PerLtqaReader().read(LAYOUTS / "perltqa_en")) if isinstance(r, Haystack))
    assert [(session.session_id, session.date) for session in haystack.sessions] == [
        ("profile", ""),
        ("social_relationship:9_0", ""),
        ("events:9_0_0", "May 2021"),
        ("dialogues:9_0_0#0:2021-05-02 10:00", "2021-05-02 10:00"),
        ("dialogues:9_0_0#0:2021-05-03 09:00", "2021-05-03 09:00"),
    ]
    assert "Hobbies: fishing, chess" in haystack.sessions[0].turns[0].content
    assert haystack.sessions[3].turns == (Turn("Lin Xiao", "What a fish!"), Turn("Zhou Ning", "We let it go."))


def test_reference_memories_are_gold() -> None:
    records = list(require_valid(PerLtqaReader().read(LAYOUTS / "perltqa_en")))
    questions = [record for record in records if isinstance(record, Question)]
    assert [(question.category, question.answer_session_ids) for question in questions] == [
        ("profile", ("profile",)),
        ("social_relationship", ("social_relationship:9_0",)),
        ("events", ("events:9_0_0",)),
        ("events", ()),
        ("dialogues", ("dialogues:9_0_0#0:2021-05-02 10:00", "dialogues:9_0_0#0:2021-05-03 09:00", "events:9_0_0")),
    ]
    assert [record.kind for record in records if isinstance(record, Issue)] == [
        "evidence_session_missing",
        "memory_without_questions",
    ]


def test_chinese_is_read_with_its_wide_colon() -> None:
    (haystack,) = (r for r in require_valid(PerLtqaReader().read(LAYOUTS / "perltqa_zh")) if isinstance(r, Haystack))
    assert haystack.haystack_id == "林晓"
    assert haystack.sessions[3].turns == (Turn("林晓", "那条鱼真大"), Turn("周宁", "我们把它放了。"))


@pytest.mark.parametrize(
    ("path", "value", "lost", "message"),
    [
        (("profile",), None, 5, "Lin Xiao: field 'profile': expected an object, got null"),
        (("events", "9_0_0", "content"), 5, 5, "events 9_0_0: field 'content': expected a string"),
        (("dialogues", "9_0_0#0", "contents"), {"May": [7]}, 5, "dialogues 9_0_0#0: expected a string"),
        (("social_relationship",), "{1", 5, "field 'social_relationship': cannot be read"),
        (("dialogues", "9_0_0#0", "contents"), {"May": []}, 5, "has no turns"),
    ],
)
def test_a_broken_memory_costs_its_questions(
    path: tuple[str, ...], value: Any, lost: int, message: str, tmp_path: Path
) -> None:
    shutil.copytree(LAYOUTS / "perltqa_en", tmp_path, dirs_exist_ok=True)
    memories = json.loads((tmp_path / "perltmem_en_v2.json").read_text())
    inner = memories["Lin Xiao"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / "perltmem_en_v2.json").write_text(json.dumps(memories))
    refusals = [r for r in validate(PerLtqaReader().read(tmp_path)) if isinstance(r, Refusal)]
    assert sum(refusal.questions for refusal in refusals) == lost
    assert message in refusals[0].problem


def test_a_broken_question_is_refused_alone(tmp_path: Path) -> None:
    shutil.copytree(LAYOUTS / "perltqa_en", tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "perltqa_en_v2.json").read_text()
    (tmp_path / "perltqa_en_v2.json").write_text(text.replace('"Answer": "31"', '"Answer": null'))
    records = list(validate(PerLtqaReader().read(tmp_path)))
    (refusal,) = (record for record in records if isinstance(record, Refusal))
    assert "Lin Xiao: profile question 0: field 'Answer'" in refusal.problem
    assert sum(isinstance(record, Question) for record in records) == 4


def test_a_person_in_several_rows_keeps_all_questions(tmp_path: Path) -> None:
    shutil.copytree(LAYOUTS / "perltqa_en", tmp_path, dirs_exist_ok=True)
    rows = json.loads((tmp_path / "perltqa_en_v2.json").read_text())
    (tmp_path / "perltqa_en_v2.json").write_text(json.dumps(rows * 2))
    questions = [r.question_id for r in require_valid(PerLtqaReader().read(tmp_path)) if isinstance(r, Question)]
    assert [name.rpartition("-q")[2] for name in questions] == [str(number) for number in range(10)]


def test_a_memory_that_cannot_be_stored_is_named_with_its_file_and_person(tmp_path: Path) -> None:
    memories = {name: {"profile": {"Job": job}} for name, job in (("Ann", "cook"), ("Bo", "\ud800"))}
    (tmp_path / "perltmem.json").write_text(json.dumps(memories))
    question = {"Question": "What is the job?", "Answer": "cook", "Reference Memory": "profile"}
    (tmp_path / "perltqa.json").write_text(json.dumps([{name: {"profile": [question]} for name in memories}]))
    first, *_ = (r for r in validate(PerLtqaReader().read(tmp_path)) if isinstance(r, Refusal))
    assert first.where == f"{tmp_path / 'perltmem.json'}: Bo"
    assert "content is not valid Unicode" in first.problem

import json
import shutil
from pathlib import Path

import pytest

from memsifter.corpus.records import Issue, Refusal, require_valid, validate
from memsifter.corpus.sessions import Haystack, Question
from memsifter.datasets.personamem_v2 import PersonaMemV2Reader

LAYOUT = Path(__file__).parent / "layouts" / "personamem_v2"


def test_each_message_of_the_user_opens_a_session() -> None:
    haystacks = [r for r in require_valid(PersonaMemV2Reader().read(LAYOUT)) if isinstance(r, Haystack)]
    assert [[len(session.turns) for session in haystack.sessions] for haystack in haystacks] == [[2, 2, 2], [2]]


def test_gold_is_where_the_snippet_was_said() -> None:
    records = list(require_valid(PersonaMemV2Reader().read(LAYOUT)))
    questions = [record for record in records if isinstance(record, Question)]
    assert [question.answer_session_ids for question in questions] == [("session_1",), ("session_3",), ()]
    assert [question.question_id for question in questions] == ["persona7-q1", "persona7-q2", "persona8-q3"]
    assert [r.detail for r in records if isinstance(r, Issue) and r.kind == "question_without_evidence"] == [
        "question 'persona8-q3': its snippet is not in the history"
    ]


def test_the_order_of_the_options_does_not_give_the_answer_away() -> None:
    questions = [r for r in require_valid(PersonaMemV2Reader().read(LAYOUT)) if isinstance(r, Question)]
    assert questions[1].question == "What's my pet's state?"
    assert questions[1].answer == "It is well again."
    assert questions[1].options == ("It is well again.", "It ran away.", "It's ill.", "You have none.")


def test_a_history_that_is_missing_or_broken_costs_its_questions(tmp_path: Path) -> None:
    shutil.copytree(LAYOUT, tmp_path, dirs_exist_ok=True)
    (tmp_path / "data/chat_history_32k/persona_8.json").unlink()
    (tmp_path / "data/chat_history_32k/persona_7.json").write_text(json.dumps({"chat_history": [{"role": "user"}]}))
    records = list(validate(PersonaMemV2Reader().read(tmp_path)))
    refusals = [record for record in records if isinstance(record, Refusal)]
    assert [refusal.questions for refusal in refusals] == [1, 1, 1]
    assert "field 'content' is missing" in refusals[0].problem
    assert "persona_8.json' is not a file of" in refusals[2].problem
    assert len(records) == 3


def test_a_link_does_not_leave_the_folder(tmp_path: Path) -> None:
    shutil.copytree(LAYOUT, tmp_path / "inner")
    table = tmp_path / "inner" / "benchmark.csv"
    (tmp_path / "outside.json").write_text('{"chat_history": [{"role": "user", "content": "secret"}]}')
    table.write_text(table.read_text().replace("data/chat_history_32k/persona_8.json", "../outside.json"))
    records = list(validate(PersonaMemV2Reader().read(tmp_path / "inner")))
    assert sum(isinstance(record, Refusal) for record in records) == 1


def test_a_folder_without_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"expected one file benchmark\*\.csv, found none"):
        list(PersonaMemV2Reader().read(tmp_path))

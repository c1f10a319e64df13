import json
from pathlib import Path
from typing import Any

import pytest

from memsifter.corpus.records import Issue, require_valid
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets.hotpotqa import HotpotQaReader

LAYOUTS = Path(__file__).parent / "layouts"


def test_paragraphs_are_sessions_and_supporting_titles_gold() -> None:
    records = list(require_valid(HotpotQaReader().read(LAYOUTS / "hotpot_dev_distractor_v1.json")))
    first, second = (record for record in records if isinstance(record, Haystack))
    assert [session.session_id for session in first.sessions] == ["Old Mill", "Orne", "Mill", "Orne#2"]
    assert first.sessions[0].turns[0].content == "Old Mill\nThe mill stands on the Orne. It grinds rye."
    assert [r.answer_session_ids for r in records if isinstance(r, Question)] == [
        ("Old Mill", "Orne", "Orne#2"),
        ("Bala",),
    ]
    assert [session.session_id for session in second.sessions] == ["Bala", "York"]
    assert Issue("evidence_session_missing", "question 'h2': 'Lost Town' is none of its paragraphs") in records


def test_the_columns_of_the_hub_read_the_same() -> None:
    haystack, question = require_valid(HotpotQaReader(split="train").read(LAYOUTS / "hotpotqa_columns.jsonl"))
    assert isinstance(haystack, Haystack)
    assert isinstance(question, Question)
    assert haystack.sessions[0].turns[0].content == "Book\nAnn wrote it.In 1990."
    assert (question.answer_session_ids, question.split) == (("Book",), "train")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("context", [["Bala"]], r"field 'context'\[0\]: expected a title and a value"),
        ("context", [["Bala", "text"]], r"field 'context'\[0\]: field 'sentences': expected a list, got a string"),
        ("context", {"title": ["a"], "sentences": []}, "1 titles for 0 paragraphs"),
        ("supporting_facts", "Bala", "field 'supporting_facts': expected a list"),
        ("supporting_facts", [[3, 1]], r"field 'supporting_facts'\[0\]: expected a string, got a whole number"),
        ("type", None, "field 'type': expected a string, got null"),
        ("context", [], "no sessions"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any, message: str, tmp_path: Path) -> None:
    row = json.loads((LAYOUTS / "hotpot_dev_distractor_v1.json").read_text())[1] | {field: value}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    with pytest.raises(Exception, match=message):
        list(require_valid(HotpotQaReader().read(tmp_path / "a.json")))


def test_the_real_questions_have_their_gold_among_their_paragraphs(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "hotpotqa" / "dev_100.json"
    report = write_dataset(HotpotQaReader().read(path), tmp_path / "d")
    raw = [json.loads(line) for line in path.read_text().splitlines()]
    assert (report["questions"], report["haystacks"]) == (100, 100)
    assert report["sessions"] == sum(len(row["context"]) for row in raw)
    dataset = load_dataset(tmp_path / "d")
    for question, row in zip(dataset.questions, raw, strict=True):
        assert set(question.answer_session_ids) == {fact[0] for fact in row["supporting_facts"]}
        assert (question.question, question.answer) == (row["question"], row["answer"])

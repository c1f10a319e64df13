import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from itertools import pairwise
from random import Random
from statistics import mean

import bm25s
import pytest
import Stemmer
import yaml

from memsifter.corpus.records import Record
from memsifter.corpus.sessions import Haystack, Question, Session, check_haystack, check_question, render_turns
from memsifter.datasets.sample.plan import FactPlan
from memsifter.datasets.sample.questions import ask_questions
from memsifter.datasets.sample.reader import SampleReader
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT

DATE_FORMAT = "%Y/%m/%d (%a) %H:%M"


def generate(
    seed: int = 0, haystacks: int = 6, sessions: int = 30, questions: int = 10, train_fraction: float = 0.5
) -> list[Record]:
    reader = SampleReader(
        seed=seed,
        haystacks=haystacks,
        sessions=sessions,
        questions=questions,
        train_fraction=train_fraction,
    )
    return list(reader.generate())


def split_records(records: Iterable[Record]) -> tuple[dict[str, Haystack], list[Question]]:
    kept = list(records)
    haystacks = {record.haystack_id: record for record in kept if isinstance(record, Haystack)}
    return haystacks, [record for record in kept if isinstance(record, Question)]


def gold_sessions(question: Question, haystacks: dict[str, Haystack]) -> list[Session]:
    sessions = haystacks[question.haystack_id].sessions
    return [session for session in sessions if session.session_id in question.answer_session_ids]


@pytest.mark.parametrize(
    ("config", "digest"),
    [
        ("sample", "f8ee242e373090f50236c6f5ff2c7cca4b2757977d054bf7163f814eef9bd6d0"),
        ("sample_small", "24deea7d3112c77710e5d1969ff452488221ff658354ddd1a61fcdff152ac311"),
        ("sample_learning", "45c85d6bcb352a631add5d0d9231a9655fe038d363b202c1240b02219d79b140"),
    ],
)
def test_the_committed_configs_give_the_conversations_that_results_were_published_for(config: str, digest: str) -> None:
    """A change of a word, or of the order in `words.yaml`, changes every figure that was measured on them."""
    folder = ROOT / "configs" / "dataset"
    base, own = (yaml.safe_load((folder / f"{name}.yaml").read_text())["datasets"] for name in ("sample", config))
    (changed,) = own.values()
    reader = SampleReader(**base["sample"] | changed)
    text = "\n".join(map(repr, reader.generate()))
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_a_seed_gives_the_same_dataset_and_another_seed_another_one() -> None:
    assert generate(seed=3) == generate(seed=3)
    assert generate(seed=3) != generate(seed=4)


def test_a_haystack_does_not_depend_on_how_many_there_are() -> None:
    few, _ = split_records(generate(haystacks=2))
    many, _ = split_records(generate(haystacks=5))
    assert all(many[name] == haystack for name, haystack in few.items())


@pytest.mark.parametrize(
    ("haystacks", "fraction", "train"), [(6, 0.5, 3), (1, 0.9, 0), (4, 1.0, 3), (4, 0.0, 0), (10, 0.8, 8)]
)
def test_whole_haystacks_go_to_one_split(haystacks: int, fraction: float, train: int) -> None:
    _, questions = split_records(generate(haystacks=haystacks, sessions=8, questions=4, train_fraction=fraction))
    sides = {name: {q.split for q in questions if q.haystack_id == name} for name in {q.haystack_id for q in questions}}
    assert Counter(split for splits in sides.values() for split in splits) == Counter(
        {"train": train, "test": haystacks - train}
    )
    assert all(len(splits) == 1 for splits in sides.values())


def test_the_smallest_dataset_has_every_category() -> None:
    _, questions = split_records(generate(haystacks=1, sessions=8, questions=4))
    assert {q.category for q in questions} == {"single-hop", "multi-hop", "temporal", "knowledge-update"}


@pytest.mark.parametrize(("sessions", "questions"), [(8, 8), (30, 10), (200, 100)])
def test_everything_is_valid_and_of_the_right_size(sessions: int, questions: int) -> None:
    haystacks, asked = split_records(generate(haystacks=3, sessions=sessions, questions=questions))
    assert len(asked) == 3 * questions
    for haystack in haystacks.values():
        check_haystack(haystack)
        assert len({session.key for session in haystack.sessions}) == sessions
        for session in haystack.sessions:
            assert 6 <= len(session.turns) <= 10
            assert [turn.role for turn in session.turns] == ["user", "assistant"] * (len(session.turns) // 2)
            assert 60 <= len(render_turns(session.turns).split()) <= 200
            assert not re.search(r"[{}]|  ", render_turns(session.turns))
    for question in asked:
        check_question(question, frozenset(s.session_id for s in haystacks[question.haystack_id].sessions))
        assert not re.search(r"[{}]|  ", question.question)


def test_sessions_are_in_order_and_questions_come_after_them() -> None:
    haystacks, questions = split_records(generate())
    for haystack in haystacks.values():
        days = [datetime.strptime(session.date, DATE_FORMAT) for session in haystack.sessions]
        assert all(one < two for one, two in pairwise(days))
    for question in questions:
        last = haystacks[question.haystack_id].sessions[-1].date
        assert datetime.strptime(question.question_date, DATE_FORMAT) > datetime.strptime(last, DATE_FORMAT)


def test_answers_stand_in_the_gold_sessions() -> None:
    haystacks, questions = split_records(generate(haystacks=20))
    for question in questions:
        texts = [render_turns(session.turns) for session in gold_sessions(question, haystacks)]
        if question.category in ("single-hop", "knowledge-update"):
            assert question.answer in texts[-1], question
        elif question.category == "multi-hop" and "in total" in question.question:
            prices = [{int(price) for price in re.findall(r"\$(\d+)", text)} for text in texts]
            assert int(question.answer[1:]) in {one + two for one in prices[0] for two in prices[1]}, question
        elif question.category == "multi-hop":
            assert any(question.answer in text for text in texts), question


def test_several_sessions_are_gold_where_one_is_not_enough() -> None:
    _, questions = split_records(generate(haystacks=20))
    for question in questions:
        needed = {"single-hop": {1}, "multi-hop": {2}, "knowledge-update": {2}, "temporal": {1, 2}}[question.category]
        assert len(question.answer_session_ids) in needed
        assert len(question.answer.split()) <= 5


def test_dates_follow_from_the_session_and_what_was_said() -> None:
    haystacks, questions = split_records(generate(haystacks=20))
    days_ago = {"today": 0, "yesterday": 1, "two days ago": 2, "three days ago": 3}
    checked = 0
    for question in questions:
        if not question.question.startswith("When did"):
            continue
        (session,) = gold_sessions(question, haystacks)
        said = [days for words, days in days_ago.items() if words in render_turns(session.turns)]
        session_day = datetime.strptime(session.date, DATE_FORMAT).date()
        answer = datetime.strptime(question.answer, "%d %B %Y").date()
        assert (session_day - answer).days in said
        checked += 1
    assert checked > 10


def test_the_newest_value_is_the_answer_of_an_update() -> None:
    haystacks, questions = split_records(generate(haystacks=20))
    for question in questions:
        if question.category == "knowledge-update":
            old, new = (render_turns(session.turns) for session in gold_sessions(question, haystacks))
            assert question.answer in new
            assert question.answer not in old


def test_no_question_has_two_right_answers() -> None:
    rng = Random(0)
    days = [date.fromordinal(date(2023, 1, 1).toordinal() + 2 * number) for number in range(200)]
    plan = FactPlan(rng, days)
    drafts = ask_questions(plan, 100)
    plan.add_unasked(450)
    said = Counter(fact.slot for fact in plan.facts)
    updated = {draft.facts[0].slot for draft in drafts if draft.category == "knowledge-update"}
    assert {slot for slot, times in said.items() if times > 1} == updated
    assert len({draft.question for draft in drafts}) == len(drafts)
    assert len(plan.facts) == 450


def test_other_people_are_told_the_same_kind_of_thing() -> None:
    plan = FactPlan(Random(1), [date(2023, 1, 1 + number) for number in range(30)])
    drafts = ask_questions(plan, 10)
    kinds = Counter(fact.slot[0] for fact in plan.facts)
    for draft in drafts:
        for fact in draft.facts:
            assert fact.slot[0] == "meeting" or kinds[fact.slot[0]] > 1


def test_more_questions_than_sessions_are_refused() -> None:
    with pytest.raises(MemSifterError, match=r"sample: questions is 9, more than sessions \(8\)"):
        generate(sessions=8, questions=9)


def test_too_many_questions_for_the_built_in_facts_are_refused() -> None:
    with pytest.raises(MemSifterError, match="sample: so many questions do not fit in one haystack; lower `questions`"):
        generate(haystacks=1, sessions=2000, questions=2000)


def test_matching_words_alone_find_some_sessions_but_not_all() -> None:
    """NDCG@10 of whole-session BM25, so that a ranker has something to improve on."""
    haystacks, questions = split_records(generate(haystacks=10))
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: list[str]) -> object:
        return bm25s.tokenize(texts, stemmer=stemmer, stopwords="en", show_progress=False)

    scores = []
    for haystack in haystacks.values():
        index = bm25s.BM25()
        index.index(tokens([render_turns(session.turns) for session in haystack.sessions]), show_progress=False)
        for question in (question for question in questions if question.haystack_id == haystack.haystack_id):
            found, _ = index.retrieve(tokens([question.question]), k=10, show_progress=False)
            gold = set(question.answer_session_ids)
            gains = [haystack.sessions[row].session_id in gold for row in found[0]]
            ideal = sum(1 / math.log2(place + 2) for place in range(len(gold)))
            scores.append(sum(gain / math.log2(place + 2) for place, gain in enumerate(gains)) / ideal)
    assert 0.5 < mean(scores) < 0.85

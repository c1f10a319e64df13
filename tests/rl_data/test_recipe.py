"""From a dataset to the rows of a round; no model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rl_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from rl_samples import TOKENIZER

from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.datasets import read_dataset
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import Message
from memsifter.llm.tokens import count_prompt, cut_texts
from memsifter.metrics.retrieval import ndcg
from memsifter.params import DrawParams
from memsifter.ranking.candidates import CandidateOrder, PromptBuilder, select_candidates
from memsifter.retrieval.excerpts import SessionViews
from memsifter.reward.sample import read_sample
from memsifter.rl_data.eligibility import Drop
from memsifter.rl_data.recipe import DatasetRows, RoundModels, Source, prepare_dataset
from memsifter.rl_data.rows import Row


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return samples.write_sample(samples.questions(), tmp_path_factory.mktemp("rl") / "data")


def ids(rows: Sequence[Row]) -> list[str]:
    return [row["extra_info"]["question_id"] for row in rows]


def check_rows(rows: Sequence[Row], source: Source, models: RoundModels) -> None:
    """What holds of every row, worked out from the dataset anew."""
    asked = {item.question_id: item for item in source.dataset.questions}
    for row in rows:
        info = row["extra_info"]
        question = asked[info["question_id"]]
        index = source.dataset.haystack_of(question)
        sample = read_sample(info)
        assert {info["session_ids"][number] for number in sample.gold} == set(question.answer_session_ids)
        assert [index.session_ids[place] for place in sample.positions] == info["session_ids"]
        assert [index.dates[place] for place in sample.positions] == list(sample.dates)
        assert 1 <= len(set(sample.positions)) == len(sample.positions) <= models.rank.max_candidates
        scores = source.scores[question.question_id]
        coarse = [scores[sample.positions[number]] for number in sample.coarse_order]
        assert coarse == sorted(coarse, reverse=True)
        shown = sorted(sample.positions) if models.rank.candidate_order == "chronological" else None
        assert list(sample.positions) == (shown or [sample.positions[number] for number in sample.coarse_order])
        assert count_prompt(row["prompt"], models.ranker_tokenizer) <= models.rank.context_tokens
        assert row["prompt"][-1]["content"].count("[Session ") == len(sample.positions)
        assert row["reward_model"] == {"style": "rule", "ground_truth": question.answer}
        for place, text, tokens in zip(sample.positions, sample.sessions, sample.session_tokens, strict=True):
            assert source.dataset.text(index.session_keys[place]).startswith(text)
            assert len(text.encode()) < tokens <= sample.context_tokens


@pytest.mark.slow
@given(st.integers(2150, 6000), st.integers(2, 8), st.booleans(), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_rows_hold_their_gold_within_every_budget(
    dataset: Dataset, context_tokens: int, max_candidates: int, ranked: bool, seed: int
) -> None:
    order = "chronological" if seed % 2 else "similarity"
    rank = {"context_tokens": context_tokens, "max_candidates": max_candidates, "candidate_order": order}
    models = samples.models(rank=rank, context_tokens=1500)
    prepared = samples.prepare(dataset, models, ranked=ranked, seed=seed)
    assert (len(prepared.train), len(prepared.test)) == (5, 3)
    assert set(ids(prepared.train)).isdisjoint(ids(prepared.test))
    check_rows([*prepared.train, *prepared.test], samples.source(dataset), models)


def test_others_join_the_gold_in_coarse_order(dataset: Dataset) -> None:
    prepared = samples.prepare(dataset, samples.models(rank={"max_candidates": 4, "context_tokens": 9000}))
    scores = samples.coarse_scores(dataset)
    for row in prepared.train:
        info = row["extra_info"]
        gold = {info["positions"][number] for number in info["gold"]}
        by_score = np.argsort(-scores[info["question_id"]], kind="stable").tolist()
        others = [place for place in by_score if place not in gold][: 4 - len(gold)]
        assert info["positions"] == sorted(gold | set(others))


def test_the_prompt_is_the_rankers(dataset: Dataset) -> None:
    row = samples.prepare(dataset).train[0]
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    user = row["prompt"][-1]["content"]
    first = user.index("[Session 1] ")
    assert first < user.index("[Session 2] ") < user.index(row["extra_info"]["question"])
    assert f"Which of the {len(row['extra_info']['sessions'])} sessions" in user
    assert (row["data_source"], row["ability"]) == ("tiny", "chat")


def test_train_questions_are_those_nearest_to_the_anchor(dataset: Dataset) -> None:
    ranked = samples.rankings(dataset)
    gold = {item.question_id: set(item.answer_session_ids) for item in dataset.questions}
    for anchor in (0.0, 0.2, 0.7, 1.0):
        prepared = samples.prepare(dataset, anchor=anchor)
        left = sorted(set(ranked) - set(ids(prepared.test)))
        distance = {name: abs(ndcg(gold[name], ranked[name], 10) - anchor) for name in left}
        assert [distance[name] for name in ids(prepared.train)] == pytest.approx(sorted(distance.values())[:5])
        assert prepared.method == "anchor"
        assert prepared.ndcg == [ndcg(gold[name], ranked[name], 10) for name in ids(prepared.train)]


def test_without_rankings_questions_are_drawn_at_random(dataset: Dataset) -> None:
    prepared = [samples.prepare(dataset, ranked=False, anchor=anchor) for anchor in (0.0, 1.0)]
    assert ids(prepared[0].train) == ids(prepared[1].train)
    assert prepared[0].method == "random"
    scores = samples.coarse_scores(dataset)
    for name, value in zip(ids(prepared[0].train), prepared[0].ndcg, strict=True):
        question = next(item for item in dataset.questions if item.question_id == name)
        names = np.array(dataset.haystack_of(question).session_ids)
        coarse = names[np.argsort(-scores[name], kind="stable")].tolist()
        assert value == ndcg(set(question.answer_session_ids), coarse, 10), "of the coarse order"


@pytest.mark.parametrize("ranked", [True, False])
def test_the_order_of_the_questions_changes_nothing(dataset: Dataset, ranked: bool) -> None:
    assert samples.prepare(samples.in_reverse(dataset), ranked=ranked) == samples.prepare(dataset, ranked=ranked)


def test_test_questions_do_not_depend_on_the_anchor_and_may_be_of_the_test_split(dataset: Dataset) -> None:
    assert ids(samples.prepare(dataset, anchor=0.0).test) == ids(samples.prepare(dataset, ranked=False).test)
    prepared = samples.prepare(dataset, test_split="test", train=12, test=6)
    assert {name.partition("-")[0] for name in ids(prepared.test)} == {"test"}
    assert {name.partition("-")[0] for name in ids(prepared.train)} == {"train"}
    assert list(prepared.counts) == ["train", "test"]


def test_a_long_session_is_cut_for_the_working_llm_alone(tmp_path: Path) -> None:
    dataset = samples.write_sample([samples.question(n, gold=(7,)) for n in range(3)], tmp_path / "data")
    models = samples.models(rank={"context_tokens": 9000}, context_tokens=1500)
    for row in samples.prepare(dataset, models, train=3, test=0).train:
        info = row["extra_info"]
        number = info["gold"][0]
        assert info["session_tokens"][number] == info["context_tokens"] < 1500, "the whole of the budget"
        assert "so long " * 400 in row["prompt"][-1]["content"], "but not for the ranker"


def test_ranker_and_working_llm_read_the_same_excerpts_in_training_as_later(dataset: Dataset) -> None:
    models = samples.models(rank={"view": "excerpt", "session_tokens": 50}, view="excerpt", session_tokens=30)
    views = [SessionViews(dataset, TOKENIZER, "excerpt", tokens, models.bm25) for tokens in (50, 30)]
    asked = {item.question_id: item for item in dataset.questions}
    for row in samples.prepare(dataset, models).train:
        question = asked[row["extra_info"]["question_id"]]
        index = dataset.haystack_of(question)
        keys = [index.session_keys[place] for place in row["extra_info"]["positions"]]
        ranker, working = (view.show(question, keys) for view in views)
        assert all(item.text in row["prompt"][-1]["content"] for item in ranker)
        assert row["extra_info"]["sessions"] == [item.text for item in working]
        assert max(item.tokens for item in ranker) == 50


@given(st.integers(1, 9), st.integers(2150, 6000), st.booleans())
@settings(max_examples=15, deadline=None)
def test_candidates_are_those_that_counting_all_sessions_would_choose(
    dataset: Dataset, max_candidates: int, context_tokens: int, similar: bool
) -> None:
    order: CandidateOrder = "similarity" if similar else "chronological"
    rank = {"max_candidates": max_candidates, "context_tokens": context_tokens, "candidate_order": order}
    models = samples.models(rank=rank)
    builder = PromptBuilder(dataset, models.ranker_prompt, TOKENIZER, models.rank, models.bm25)
    scores = samples.coarse_scores(dataset)
    for question in dataset.questions[:4]:
        index = dataset.haystack_of(question)
        tokens = [item.tokens for item in builder.sessions.count(question, index, range(len(index.session_ids)))]
        given = scores[question.question_id]
        expected = select_candidates(given, tokens, builder.budget(question), max_candidates, order)
        assert builder.fill(question, given).candidates == tuple(expected)


class Notebook:
    """A tokenizer that notes every text it encodes."""

    def __init__(self) -> None:
        self.is_fast = True
        self.chat_template: str | None = TOKENIZER.chat_template
        self.texts: list[str] = []

    def __call__(self, text: Sequence[str], **kwargs: Any) -> Any:
        self.texts += text
        return TOKENIZER(text, **kwargs)

    def apply_chat_template(self, conversation: Sequence[Message], **kwargs: Any) -> Any:
        return TOKENIZER.apply_chat_template(conversation, **kwargs)


def test_each_model_tokenizes_a_session_once(dataset: Dataset) -> None:
    ranker, working = Notebook(), Notebook()
    samples.prepare(dataset, replace(samples.models(ranker), chat_tokenizer=working), train=9)
    for notebook in (ranker, working):
        sessions = [dataset.text(key) for key in dataset.session_keys]
        counted = [text for text in notebook.texts if text in sessions]
        assert len(counted) == len(set(counted)) >= len(sessions) - 3
        assert len(notebook.texts) < len(sessions) + 2 * 8 + 4 * 12, "headings, frames and prompts"


def test_a_prompt_longer_than_its_parts_is_an_error(dataset: Dataset) -> None:
    class Odd(Notebook):
        """Encodes whole prompts, and only these, to more tokens than their parts."""

        def apply_chat_template(self, conversation: Sequence[Message], **kwargs: Any) -> Any:
            text = super().apply_chat_template(conversation, **kwargs)
            return text + "!" * 4000 if "[Session " in text else text

    with pytest.raises(MemSifterError, match=r"lower rank\.max_candidates or rank\.session_tokens"):
        samples.prepare(dataset, samples.models(Odd()))


def test_missing_coarse_scores_are_an_error(dataset: Dataset) -> None:
    source = Source("tiny", "chat", dataset, {}, None)
    with pytest.raises(MemSifterError, match="its coarse scores are missing; repeat order"):
        prepare_dataset(source, samples.models(), DrawParams(train=1, test=1), 0.2, 7, "key")


def on_real_questions(dataset: Dataset, train: int, test: int) -> DatasetRows:
    models = samples.models(rank={"context_tokens": 12000, "max_candidates": 10, "view": "head", "session_tokens": 900})
    source = Source("real", "chat", dataset, samples.coarse_scores(dataset), samples.rankings(dataset))
    prepared = prepare_dataset(source, models, DrawParams(train=train, test=test), 0.2, 7, "key")
    check_rows([*prepared.train, *prepared.test], source, models)
    return prepared


@pytest.mark.slow
def test_locomo(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "locomo" / "locomo6.json"
    write_dataset(read_dataset("locomo", path=path, split="train", categories=(1, 2, 3, 4, 5)), tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    prepared = on_real_questions(dataset, train=80, test=20)
    assert (len(prepared.train), len(prepared.test)) == (80, 20)
    counts = prepared.counts["train"]
    assert counts.available == len(dataset.questions)
    unanswered = sum(not item.answer for item in dataset.questions)
    assert counts.dropped[Drop.NO_ANSWER] == unanswered > 100
    assert counts.not_drawn == counts.available - sum(counts.dropped.values()) - 100


def test_the_built_in_dataset(tmp_path: Path) -> None:
    write_dataset(read_dataset("sample"), tmp_path / "data")
    prepared = on_real_questions(load_dataset(tmp_path / "data"), train=20, test=10)
    assert (prepared.counts["train"].available, prepared.counts["train"].not_drawn) == (30, 0)


def test_bytes_are_tokens() -> None:
    assert cut_texts({"": "xäy"}, TOKENIZER, None)[""].tokens == 4, "what the tests above count by"

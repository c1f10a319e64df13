from pathlib import Path

import numpy as np
import pytest
from scored_datasets import make_question, make_session

from memsifter.corpus.records import Record
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.training_set import collect_training_set
from memsifter.retrieval.score_lists import ScoreLists

A, B, C, D, E = (make_session(name, "", f"I am {name}") for name in "abcde")
HAYSTACKS = [Haystack("h1", (A, B)), Haystack("h2", (C, D)), Haystack("h3", (E, B))]
QUESTIONS = [
    make_question("q1", "h1", "one", ("b",), "train"),
    make_question("q2", "h2", "two", ("c",), "test"),
    make_question("q3", "h3", "three", ("e", "b"), "train"),
    make_question("q4", "h2", "four", (), "train"),
    make_question("q5", "h2", "five", ("d",), "train"),
]


def load(directory: Path, questions: list[Question]) -> Dataset:
    write_dataset([*HAYSTACKS, *questions], directory)
    return load_dataset(directory)


def count_up(dataset: Dataset) -> ScoreLists:
    """Scores 0, 1, 2, …, so that each tells where it comes from."""
    names = tuple(question.question_id for question in dataset.questions)
    return ScoreLists(names, np.arange(0, 2 * len(names) + 1, 2), {"x": np.arange(2 * len(names), dtype=np.float32)})


def test_only_train_questions_with_gold_are_taken(tmp_path: Path) -> None:
    dataset = load(tmp_path / "d", QUESTIONS)
    training = collect_training_set({"toy": dataset}, {"toy": count_up(dataset)})
    assert training
    assert training.scores.question_ids == ("q1", "q3", "q5")
    assert training.scores.columns["x"].tolist() == [0, 1, 4, 5, 8, 9]
    assert training.gold.tolist() == [False, True, True, True, False, True]
    assert training.questions == {"toy": 3}
    assert training.without_gold == 1


def test_haystacks_that_share_a_session_are_one_group(tmp_path: Path) -> None:
    dataset = load(tmp_path / "d", QUESTIONS)
    training = collect_training_set({"toy": dataset}, {"toy": count_up(dataset)})
    assert training
    h1, h3, h2 = training.groups
    assert h1 == h3 != h2


def test_datasets_with_the_same_ids_stay_apart_unless_they_share_sessions(tmp_path: Path) -> None:
    dataset = load(tmp_path / "d", QUESTIONS)
    other: list[Record] = [
        Haystack("h1", (make_session("x", "", "another"),)),
        make_question("q1", "h1", "one", ("x",), "train"),
    ]
    write_dataset(other, tmp_path / "other")
    second = load_dataset(tmp_path / "other")
    one = ScoreLists(("q1",), np.asarray([0, 1]), {"x": np.asarray([7.0])})
    training = collect_training_set({"toy": dataset, "other": second}, {"toy": count_up(dataset), "other": one})
    assert training
    assert training.questions == {"toy": 3, "other": 1}
    assert training.scores.columns["x"].tolist() == [0, 1, 4, 5, 8, 9, 7]
    assert len(set(training.groups[:3]) | {training.groups[3]}) == 3


def test_without_train_gold_there_is_nothing_to_fit_on(tmp_path: Path) -> None:
    dataset = load(tmp_path / "d", [QUESTIONS[1], QUESTIONS[3]])
    assert collect_training_set({"toy": dataset}, {"toy": count_up(dataset)}) is None
    assert collect_training_set({}, {}) is None


def test_the_hash_follows_the_train_questions_alone(tmp_path: Path) -> None:
    def digest(name: str, questions: list[Question]) -> str:
        dataset = load(tmp_path / name, questions)
        training = collect_training_set({"toy": dataset}, {"toy": count_up(dataset)})
        assert training
        return training.sha256

    other_test = make_question("q2", "h2", "changed", ("d",), "test")
    other_gold = make_question("q1", "h1", "one", ("a",), "train")
    before = digest("before", QUESTIONS)
    assert digest("test", [QUESTIONS[0], other_test, *QUESTIONS[2:]]) == before
    assert digest("gold", [other_gold, *QUESTIONS[1:]]) != before


def test_scores_of_another_dataset_are_refused(tmp_path: Path) -> None:
    dataset = load(tmp_path / "d", QUESTIONS)
    short = ScoreLists(("q1",), np.asarray([0, 1]), {"x": np.asarray([1.0])})
    with pytest.raises(MemSifterError, match=r"data/scores/toy\.parquet: question 'q1' lacks its 2 scores"):
        collect_training_set({"toy": dataset}, {"toy": short})

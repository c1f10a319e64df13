"""All scores together: what they depend on, and what they must not depend on."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
from scored_datasets import RETRIEVAL, make_question, make_session

from memsifter.corpus.records import Record
from memsifter.corpus.sessions import Haystack, Session, Turn, render_turns
from memsifter.corpus.store import Dataset, build_dataset, load_dataset, write_dataset
from memsifter.params import RetrievalParams, ScoreName, Unit
from memsifter.retrieval.embedding_tables import text_key
from memsifter.retrieval.embeddings import EmbeddedDataset, EmbeddedUnits, Embeddings, TokenVectors
from memsifter.retrieval.score_lists import ScoreLists
from memsifter.retrieval.scores import FAMILIES, score_questions
from memsifter.retrieval.units import window_turns

NAMES: tuple[ScoreName, ...] = get_args(ScoreName)
PARAMS = RetrievalParams(**{**RETRIEVAL.model_dump(exclude={"scores"}), "scores": NAMES})
PUPPY = make_session("p", "8 May, 2023", "I adopted a beagle puppy")
OSLO = make_session("o", "9 June, 2023", "My flight to Oslo was late", "Which airline?", "A Norwegian one")
VIOLIN = make_session("v", "1 July, 2023", "Anna: I practise the violin daily")
BEIJING = make_session("b", "2023年7月2日", "我喜欢北京的烤鸭")
LAKE = make_session("l", "2 July, 2023", "We swam in the lake")


def embed(texts: list[str]) -> Embeddings:
    """Vectors that depend on the text alone, as a real model's do."""
    generators = [np.random.default_rng(list(text_key(text))) for text in texts]
    vectors = np.asarray([generator.normal(size=8) for generator in generators], dtype=np.float32)
    weights = sp.vstack([sp.random(1, 20, 0.4, "csr", np.float32, generator) for generator in generators]).tocsr()
    tokens = np.asarray([generator.normal(size=(2, 8)) for generator in generators], dtype=np.float32).reshape(-1, 8)
    for rows in (vectors, tokens):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings(vectors, weights, TokenVectors(tokens, np.arange(0, 2 * len(texts) + 1, 2)))


def embed_units(dataset: Dataset, size: int) -> EmbeddedUnits:
    """Units of `size` turns of the sessions that are asked of; the others have none."""
    texts = []
    for key in dataset.session_keys:
        turns = dataset.turns(key) if key in dataset.asked_keys else ()
        windows = window_turns(len(turns), size) if turns else ()
        texts.append([render_turns(turns[first:last]) for first, last in windows])
    flat = [text for session in texts for text in session]
    return EmbeddedUnits(embed(flat), np.cumsum([0, *map(len, texts)], dtype=np.int64))


def score(directory: Path, haystacks: dict[str, tuple[Session, ...]], *questions: tuple[str, str]) -> ScoreLists:
    """Scores of questions, given as (haystack, text), over haystacks of one collection."""
    records: list[Record] = [Haystack(name, sessions) for name, sessions in haystacks.items()]
    records += [make_question(f"q{n}", name, text) for n, (name, text) in enumerate(questions)]
    write_dataset(records, directory)
    return score_dataset(load_dataset(directory))


def score_dataset(dataset: Dataset) -> ScoreLists:
    units: dict[Unit, EmbeddedUnits] = {"turn": embed_units(dataset, 1)}
    units |= {"window": embed_units(dataset, 2), "chunk": embed_units(dataset, 3)}
    embedded = EmbeddedDataset(embed([question.question for question in dataset.questions]), units)
    return score_questions(dataset, embedded, PARAMS)


def test_every_name_has_a_function() -> None:
    assert sorted(name for names in FAMILIES for name in names) == sorted(NAMES)


def test_scores_follow_the_questions_and_their_haystacks(tmp_path: Path) -> None:
    haystacks = {"first": (PUPPY, OSLO, VIOLIN), "second": (LAKE, PUPPY)}
    asked = (("second", "Where did we swim?"), ("first", "Which beagle did I get in May?"), ("first", "My flight?"))
    found = score(tmp_path / "d", haystacks, *asked)
    assert set(found.columns) == set(NAMES)
    assert np.diff(found.offsets).tolist() == [2, 3, 3]
    lexical = np.split(found.columns["lexical_session"], found.offsets[1:-1])
    assert [int(scores.argmax()) for scores in lexical] == [0, 0, 1]
    dates = np.split(found.columns["date"], found.offsets[1:-1])
    assert dates[1].argmax() == 0
    assert not dates[0].any()
    assert not dates[2].any()


def test_permuting_the_sessions_permutes_the_scores(tmp_path: Path) -> None:
    sessions, order = (PUPPY, OSLO, VIOLIN, BEIJING, LAKE), [3, 0, 4, 2, 1]
    question = "Which beagle did Anna see last July in Oslo?"
    before = score(tmp_path / "a", {"h": sessions}, ("h", question))
    after = score(tmp_path / "b", {"h": tuple(sessions[position] for position in order)}, ("h", question))
    for name in NAMES:
        np.testing.assert_allclose(after.columns[name], before.columns[name][order], rtol=1e-5, atol=1e-6)


def test_a_session_more_in_the_haystack_never_changes_the_scores_of_the_others(tmp_path: Path) -> None:
    haystacks = {"small": (PUPPY, OSLO, BEIJING), "large": (PUPPY, LAKE, OSLO, BEIJING)}
    question = "On 8 May, how late was my flight with the beagle, 北京?"
    found = score(tmp_path / "d", haystacks, ("small", question), ("large", question))
    for name in NAMES:
        small, large = found.columns[name][:3], found.columns[name][3:]
        np.testing.assert_array_equal(small, large[[0, 2, 3]], err_msg=name)


def test_within_its_collection_a_haystack_has_the_scores_that_it_has_in_the_whole(tmp_path: Path) -> None:
    haystacks = {"first": (LAKE, PUPPY, replace(LAKE, session_id="again")), "second": (PUPPY, OSLO, BEIJING, VIOLIN)}
    question = "On 8 May, how late was Anna's flight with the beagle, 北京?"
    whole = score(tmp_path / "d", haystacks, ("first", "Where did we swim?"), ("second", question))
    asked = make_question("q", "second", question)
    own = build_dataset([Haystack("second", haystacks["second"]), asked])
    for name in ("second", "new"):  # the same haystack by another name counts once, too
        renamed = build_dataset([Haystack(name, haystacks["second"]), replace(asked, haystack_id=name)])
        found = score_dataset(renamed.within(load_dataset(tmp_path / "d")))
        for score_name in NAMES:
            expected = whole.columns[score_name][3:]
            np.testing.assert_array_equal(found.columns[score_name], expected, err_msg=score_name)
    alone = score_dataset(own).columns
    assert any((alone[name] != whole.columns[name][3:]).any() for name in NAMES), "the collection decides something"


@pytest.mark.parametrize("question", ["?!", "the", "谁去了北京?", "unheard"])
def test_questions_without_known_words_and_haystacks_of_one_session(tmp_path: Path, question: str) -> None:
    found = score(tmp_path / "d", {"h": (BEIJING,)}, ("h", question))
    assert all(np.isfinite(found.columns[name]).all() and found.columns[name].shape == (1,) for name in NAMES)


def test_identical_sessions_score_the_same(tmp_path: Path) -> None:
    twin = Session("p2", PUPPY.date, PUPPY.turns)
    found = score(tmp_path / "d", {"h": (PUPPY, OSLO, twin)}, ("h", "Which beagle did I get on 8 May?"))
    assert all(found.columns[name][0] == found.columns[name][2] for name in NAMES)


def test_an_empty_turn_is_no_obstacle(tmp_path: Path) -> None:
    silent = Session("s", "", (Turn("user", ""), Turn("assistant", "")))
    found = score(tmp_path / "d", {"h": (silent, PUPPY)}, ("h", "Which beagle?"))
    assert all(np.isfinite(found.columns[name]).all() for name in NAMES)
    assert found.columns["lexical_session"][0] < found.columns["lexical_session"][1]

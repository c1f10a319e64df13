import hashlib
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.rl_data.draw import order_by_hash, sample_near, sample_random

scores_of_questions = st.dictionaries(
    st.text(max_size=6), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.55, 1.0]), max_size=20
)


def test_the_questions_nearest_to_the_anchor_come_first() -> None:
    scores = {"easy": 1.0, "hopeless": 0.0, "hard": 0.25, "middle": 0.5}
    assert sample_near(scores, anchor=0.2, count=3, seed=1) == ["hard", "hopeless", "middle"]


def test_scores_on_either_side_of_the_anchor_tie() -> None:
    assert abs(0.6 - 0.7) < abs(0.8 - 0.7), "in their last bits only"
    first = Counter(sample_near({"below": 0.6, "above": 0.8}, 0.7, 1, seed)[0] for seed in range(40))
    assert min(first["below"], first["above"]) >= 8


def test_the_order_is_that_of_the_hashes() -> None:
    digests = {name: hashlib.sha256(json.dumps([7, name]).encode()).hexdigest() for name in "abcdef"}
    assert order_by_hash("fedcba", 7) == sorted("abcdef", key=lambda name: digests[name])
    assert order_by_hash("abcdef", 7) == ["f", "d", "b", "e", "c", "a"], "the same on every machine"


def test_every_question_is_as_likely_as_any_other() -> None:
    drawn = Counter(name for seed in range(400) for name in sample_random("abcdefgh", 2, seed))
    assert set(drawn) == set("abcdefgh")
    assert all(65 <= count <= 135 for count in drawn.values()), "100 expected"


@given(scores_of_questions, st.floats(0, 1), st.integers(0, 5), st.data())
@settings(max_examples=200, deadline=None)
def test_a_sample_has_its_size_and_nothing_better_was_left_out(
    scores: dict[str, float], anchor: float, seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(scores)))
    shuffled = dict(data.draw(st.permutations(list(scores.items()))))
    sample = sample_near(scores, anchor, count, seed)
    assert sample == sample_near(shuffled, anchor, count, seed)
    assert len(set(sample)) == len(sample) == count
    distances = [abs(scores[name] - anchor) for name in sample]
    assert distances == pytest.approx(sorted(abs(score - anchor) for score in scores.values())[:count], abs=1e-8)


@given(st.sets(st.text(max_size=6), max_size=20), st.integers(0, 5), st.data())
@settings(max_examples=100, deadline=None)
def test_a_random_sample_grows_without_changing(names: set[str], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(names)))
    shuffled = data.draw(st.permutations(sorted(names)))
    sample = sample_random(shuffled, count, seed)
    assert len(set(sample)) == len(sample) == count
    assert sample == sample_random(names, len(names), seed)[:count]


def test_too_few_and_repeated_names_are_refused() -> None:
    with pytest.raises(ValueError, match="3 names requested, 2 given"):
        sample_random(["a", "b"], 3, seed=0)
    with pytest.raises(ValueError, match="3 names requested, 1 given"):
        sample_near({"a": 0.1}, 0.2, 3, seed=0)
    with pytest.raises(ValueError, match="names repeat"):
        order_by_hash(["a", "a"], 0)

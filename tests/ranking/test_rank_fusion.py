"""How the ranker's scores and the coarse order become one ranking, and the weight between them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.listwise import TrainingLists
from memsifter.params import RankParams, load_params
from memsifter.ranking.engine import TokenPrompt
from memsifter.ranking.fusion import choose_fit_questions, decide_fusion, fit_weight, fuse
from memsifter.ranking.parse import complete_ranking
from memsifter.ranking.rank import QuestionPrompt, Reading
from memsifter.ranking.rows import order_rows, ranking_rows
from memsifter.ranking.weight import RankFusion, read_rank_fusion, write_rank_fusion

RANK = load_params().rank
NAMES = [f"s{place}" for place in range(6)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three haystacks of six sessions with four train questions each, s3 being gold, and a test question."""
    folder = tmp_path_factory.mktemp("data")
    haystacks = [
        Haystack(f"h{number}", tuple(Session(name, "", (Turn("user", f"{number} {name}"),)) for name in NAMES))
        for number in range(3)
    ]
    questions = [
        Question(f"h{number}-q{place}", "train", f"h{number}", "?", "", "a", "c", ("s3",))
        for number in range(3)
        for place in range(4)
    ]
    write_dataset([*haystacks, *questions, Question("test", "test", "h0", "?", "", "a", "c", ("s3",))], folder)
    return load_dataset(folder)


def lists(seed: int, signal: float, questions: int = 60, size: int = 8) -> TrainingLists:
    """Coarse scores that know something of the gold session, and a ranker's that know `signal` of it."""
    rng = np.random.default_rng(seed)
    gold = np.zeros((questions, size), dtype=np.bool_)
    gold[np.arange(questions), rng.integers(size, size=questions)] = True
    coarse, ranker = (rng.normal(size=gold.shape) + strength * gold for strength in (1.2, signal))
    coarse = (coarse - coarse.mean(1, keepdims=True)) / coarse.std(1, keepdims=True)
    features = np.stack([coarse, ranker - ranker.mean(1, keepdims=True)], axis=2).reshape(-1, 2)
    return TrainingLists(features, gold.ravel(), np.arange(0, gold.size + 1, size))


def test_a_ranker_that_knows_nothing_gets_no_weight() -> None:
    groups = np.arange(60) % 6
    weights = [fit_weight(lists(seed, signal=0.0), groups).weight for seed in range(20)]
    assert sum(weight == 0 for weight in weights) >= 17, "one standard error lets a sixth through, at the most"
    assert max(weight or 0.0 for weight in weights) < 0.3


def test_a_ranker_that_knows_something_gets_a_weight() -> None:
    fusion = fit_weight(lists(1, signal=1.5), np.arange(60) % 6)
    assert fusion.weight is not None
    assert 0.5 < fusion.weight < 3
    assert fusion.gain is not None
    assert fusion.standard_error is not None
    assert fusion.gain > fusion.standard_error
    assert fusion.note == ""


def test_a_ranker_that_is_wrong_is_not_turned_round() -> None:
    fusion = fit_weight(lists(1, signal=-1.5), np.arange(60) % 6)
    assert (fusion.weight, fusion.note) == (0.0, "the ranker's score does not help on held-out conversations")


def test_one_conversation_gives_no_weight_and_says_so() -> None:
    fusion = fit_weight(lists(1, signal=1.5), np.zeros(60, dtype=np.int64))
    assert fusion.weight == 0
    assert "none is left to hold out" in fusion.describe()


def test_probabilities_have_a_fitted_scale_whether_or_not_a_weight_could_be_fitted() -> None:
    one_conversation = fit_weight(lists(1, signal=0.0), np.zeros(60, dtype=np.int64))
    several = fit_weight(lists(1, signal=0.0), np.arange(60) % 6)
    assert several.weight == one_conversation.weight == 0
    assert one_conversation.scale == several.scale != 1


def reading(scores: list[float] | None, named: tuple[int, ...] = ()) -> Reading:
    values = None if scores is None else np.asarray(scores)
    return Reading(named, values, "<ranking>…</ranking>", "ok" if scores else "failed", 10, 2)


def prompt_of(dataset: Dataset, name: str, candidates: tuple[int, ...]) -> QuestionPrompt:
    question = next(question for question in dataset.questions if question.question_id == name)
    return QuestionPrompt(question, candidates, TokenPrompt(name, [], {}))


COARSE = {"test": np.array([0.5, 0.4, 0.9, 0.8, 0.1, 0.2], dtype=np.float32)}  # s2 s3 s0 s1 s5 s4


def row_of(dataset: Dataset, given: Reading, fusion: RankFusion, rank: RankParams = RANK) -> dict[str, list[object]]:
    prompts = [prompt_of(dataset, "test", (0, 2, 3))]
    (row,) = ranking_rows(prompts, {"test": given}, dataset, COARSE, rank, fusion)
    return row


def test_written_puts_first_what_the_ranker_puts_first(dataset: Dataset) -> None:
    rank = RANK.model_copy(update={"scores": "written", "fusion": "written"})
    row = row_of(dataset, reading([-2.0, -2.0, -1.0], named=(2,)), RankFusion("written"), rank)
    assert row["ranking"] == ["s3", "s2", "s0", "s1", "s5", "s4"]
    assert row["own_order"] == ["s3", "s2", "s0"]
    assert row["scores"] == [-1.0, -2.0, -2.0, None, None, None]
    assert row["probabilities"] == [None] * 6, "a written order has none"


def test_a_weight_of_0_is_the_coarse_order_and_a_large_one_the_ranker_s(dataset: Dataset) -> None:
    scores = np.log([0.7, 0.1, 0.2]).tolist()
    row = row_of(dataset, reading(scores, (0, 2, 1)), RankFusion("fixed", 0.0))
    assert row["ranking"] == ["s2", "s3", "s0", "s1", "s5", "s4"]
    assert row["own_order"] == ["s0", "s3", "s2"]
    row = row_of(dataset, reading(scores, (0, 2, 1)), RankFusion("fixed", 50.0))
    assert row["ranking"] == ["s0", "s3", "s2", "s1", "s5", "s4"]
    assert row["scores"][:3] == pytest.approx(np.log([0.7, 0.2, 0.1]), abs=1e-4)


def test_a_session_that_did_not_fit_the_prompt_keeps_its_place(dataset: Dataset) -> None:
    prompts = [prompt_of(dataset, "test", (0, 2, 5))]  # s3, second in the coarse order, was too long
    given = {"test": reading(np.log([0.7, 0.1, 0.2]).tolist(), (0, 2, 1))}
    (kept,) = ranking_rows(prompts, given, dataset, COARSE, RANK, RankFusion("fitted", 0.0))
    assert kept["ranking"] == ["s2", "s3", "s0", "s1", "s5", "s4"]
    (moved,) = ranking_rows(prompts, given, dataset, COARSE, RANK, RankFusion("fixed", 50.0))
    assert moved["ranking"] == ["s0", "s3", "s5", "s1", "s2", "s4"]


def test_a_response_that_cannot_be_read_has_the_probabilities_of_the_coarse_scores(dataset: Dataset) -> None:
    rank = RANK.model_copy(update={"fusion": "written"})
    row = row_of(dataset, reading(None), RankFusion("written"), rank)
    shares = np.asarray(row["probabilities"][:3], dtype=float)
    assert shares.sum() == pytest.approx(1, abs=1e-3)
    assert (np.diff(shares) <= 0).all()


def test_probabilities_of_the_first_number_are_the_ranker_s_own(dataset: Dataset) -> None:
    rank = RANK.model_copy(update={"fusion": "written"})
    row = row_of(dataset, reading(np.log([0.7, 0.1, 0.2]).tolist(), (0, 2, 1)), RankFusion("written"), rank)
    assert row["probabilities"] == [0.7, 0.2, 0.1, None, None, None]


def test_what_cannot_be_read_leaves_the_coarse_order(dataset: Dataset) -> None:
    row = row_of(dataset, reading(None), RankFusion("fitted", 2.0))
    assert row["ranking"] == ["s2", "s3", "s0", "s1", "s5", "s4"]
    assert row["scores"] == [None] * 6


@given(
    st.permutations(range(6)),
    st.lists(st.floats(-20, 0), min_size=6, max_size=6),
    st.sampled_from([0.0, 0.3, 4.0]),
    st.sampled_from(["written", "fitted"]),
)
@settings(max_examples=50, deadline=None)
def test_how_candidates_are_numbered_does_not_matter(
    dataset: Dataset, order: list[int], scores: list[float], weight: float, method: str
) -> None:
    fusion = RankFusion("fitted", weight) if method == "fitted" else RankFusion("written")
    rows = []
    for candidates in (list(range(6)), order):
        named = tuple(sorted(range(6), key=lambda place: (-scores[candidates[place]], candidates[place])))
        given = reading([scores[position] for position in candidates], named)
        prompts = [prompt_of(dataset, "test", tuple(candidates))]
        rows += list(ranking_rows(prompts, {"test": given}, dataset, COARSE, RANK, fusion))
    assert {**rows[0], "candidates": []} == {**rows[1], "candidates": []}


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_a_written_ranking_is_the_completed_one(dataset: Dataset, order: list[int], named: int) -> None:
    rank = RANK.model_copy(update={"scores": "written"})
    prompts = [prompt_of(dataset, "test", tuple(order))]
    written = tuple(range(named))
    (row,) = ranking_rows(prompts, {"test": reading([-1.0] * 6, written)}, dataset, COARSE, rank, RankFusion("written"))
    coarse = sorted(range(6), key=lambda place: -COARSE["test"][place])
    assert row["ranking"] == [NAMES[place] for place in complete_ranking([order[place] for place in written], coarse)]


def test_fused_scores_add_nats_to_standard_deviations() -> None:
    coarse = np.array([1.0, 3.0])
    assert fuse(coarse, np.log([0.8, 0.2]), "first_number", 0.5) == pytest.approx(
        np.array([-1, 1]) + 0.5 * np.log(4) / 2 * np.array([1, -1])
    )
    assert fuse(coarse, np.array([-1.0, -2.0]), "written", 0.5).tolist() == [-0.5, 0.5]


def test_fit_questions_are_spread_over_conversations(dataset: Dataset) -> None:
    names = [question.question_id for question in choose_fit_questions(dataset, 4)]
    assert names == ["h0-q0", "h1-q0", "h2-q0", "h0-q1"]
    assert len(choose_fit_questions(dataset, 100)) == 12
    assert choose_fit_questions(dataset, 0) == []


def test_questions_that_the_ranker_was_trained_on_are_left_out(dataset: Dataset) -> None:
    names = [question.question_id for question in choose_fit_questions(dataset, 4, {"h0-q0", "h1-q1"})]
    assert names == ["h0-q1", "h1-q0", "h2-q0", "h0-q2"]


def test_the_weight_is_fitted_on_questions_with_gold_among_the_candidates(dataset: Dataset) -> None:
    questions = choose_fit_questions(dataset, 12)
    coarse = np.arange(6, dtype=np.float32)

    def fitted_on(candidates: tuple[int, ...], readable: bool = True) -> RankFusion:
        items = [prompt_of(dataset, question.question_id, candidates) for question in questions]
        scores = [0.0 if position == 3 else -5.0 for position in candidates] if readable else None
        return decide_fusion(RANK, [(item, reading(scores), coarse) for item in items], dataset)

    fusion = fitted_on((5, 4, 3))
    assert (fusion.method, fusion.questions) == ("fitted", 12)
    assert fusion.weight is not None
    assert fusion.weight > 0
    note = "none of the train questions has gold among its candidates and an output that could be read"
    without = RankFusion("fitted", 0.0, note=note)
    assert fitted_on((5, 4)) == without
    assert fitted_on((5, 4, 3), readable=False) == without
    assert decide_fusion(RANK.model_copy(update={"fusion": 0.25}), [], dataset) == RankFusion("fixed", 0.25)
    assert decide_fusion(RANK.model_copy(update={"fusion": "written"}), [], dataset) == RankFusion("written")


def test_an_order_stands_in_for_a_ranker(dataset: Dataset) -> None:
    (row,) = order_rows(replace(dataset, questions=dataset.questions[-1:]), COARSE)
    assert row["ranking"] == ["s2", "s3", "s0", "s1", "s5", "s4"]
    assert row["scores"] == pytest.approx([0.9, 0.8, 0.5, 0.4, 0.2, 0.1])
    assert (row["candidates"], row["response"], row["parse_status"]) == ([], "", "ok")
    assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert row["probabilities"] == sorted(row["probabilities"], reverse=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not what the stage rank writes"),
        ('{"method": "fitted"}', "'fitted' with the weight None; repeat rank"),
        ('{"method": "fitted", "weight": "2"}', "'fitted' with the weight '2'; repeat rank"),
        ('{"method": "fixed", "weight": -1}', "'fixed' with the weight -1; repeat rank"),
        ('{"method": "written", "weight": 1}', "'written' with the weight 1; repeat rank"),
        ('{"method": "guessed"}', "'guessed' with the weight None; repeat rank"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "sample.json"
    path.write_text(content)
    with pytest.raises(MemSifterError, match=message):
        read_rank_fusion(path)


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    fusion = fit_weight(lists(1, signal=1.5), np.arange(60) % 6)
    write_rank_fusion(tmp_path / "sample.json", fusion)
    assert read_rank_fusion(tmp_path / "sample.json") == fusion

# ruff: noqa: RUF001 - look-alike characters are what some of these tests are about
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.ranking.parse import ParsedRanking, complete_ranking, parse_ranking

# Pieces that ranker outputs are made of, so that random texts reach every branch.
PIECES = [
    *(
        "<think>",
        "</think>",
        "<ranking>",
        "</ranking>",
        "<Ranking>",
        "[",
        "]",
        "(",
        ")",
        "-",
        "−",
        "–",
        " ",
        "\n",
        ",",
        "，",
    ),
    *(
        "、",
        ";",
        ">",
        "->",
        "#",
        "session",
        "Session ",
        "and ",
        "0",
        "1",
        "2",
        "3",
        "7",
        "12",
        "99",
        "٣",
        "９",
        ".",
        '"',
        "x",
    ),
]
messy_texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


def ranked(body: str) -> str:
    return f"<think>short thought</think><ranking>{body}</ranking>"


@pytest.mark.parametrize(
    "text",
    [
        "<think>a</think><ranking>3,0,7</ranking>",
        "<think></think><ranking>3,0,7</ranking>",
        "<think>a\nb < c, 5 > 4</think>\n<ranking>\n3, 0,\n7 </ranking>\n",
        "  <think>a</think> <ranking>03,00,7</ranking>",
    ],
)
def test_the_exact_format_is_ok(text: str) -> None:
    assert parse_ranking(text, 8) == ParsedRanking((3, 0, 7), "ok")


def test_numbers_count_from_the_base() -> None:
    assert parse_ranking(ranked("3,1"), 3, base=1) == ParsedRanking((2, 0), "ok")
    assert parse_ranking(ranked("3,1"), 3, base=0) == ParsedRanking((1,), "repaired")
    assert parse_ranking(ranked("0,1"), 3, base=1) == ParsedRanking((0,), "repaired")


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        (ranked("[3, 0, 7]"), (3, 0, 7)),
        (ranked('["3", "0", "7"]'), (3, 0, 7)),
        (ranked('{"ranking": [3, 0, 7]}'), (3, 0, 7)),
        (ranked("session3,session0"), (3, 0)),
        (ranked("Session 3, Session 0"), (3, 0)),
        (ranked("[Session 3] > [Session 0]"), (3, 0)),
        (ranked("session_3, session-0"), (3, 0)),
        (ranked("#3, #0"), (3, 0)),
        (ranked("3 > 0 > 7"), (3, 0, 7)),
        (ranked("3>0->7 → 1"), (3, 0, 7, 1)),
        (ranked("3，0、7；1"), (3, 0, 7, 1)),
        (ranked("３，０"), (3, 0)),
        (ranked("3; 0 | 7"), (3, 0, 7)),
        (ranked("3 0 7"), (3, 0, 7)),
        (ranked("3\n0\n7"), (3, 0, 7)),
        (ranked("- Session 3\n- Session 0"), (3, 0)),
        (ranked("1. Session 3\n2. Session 0"), (3, 0)),
        (ranked("Rank 1: Session 3\nRank 2: Session 0"), (3, 0)),
        (ranked("1. 3\n2. 0\n3. 7"), (3, 0, 7)),
        (ranked("1) 3, 2) 0"), (3, 0)),
        (ranked("- 3\n- 0"), (3, 0)),
        (ranked("**3**, **0**"), (3, 0)),
        (ranked('[{"session": 3}, {"session": 0}]'), (3, 0)),
        (ranked('{\n  "ranking": [\n    3,\n    0\n  ]\n}'), (3, 0)),
        (ranked("Best first:\n3, 0"), (3, 0)),
        (ranked("Sessions 3 and 0"), (3, 0)),
        (ranked("Session 3 (2023-05-02), Session 0 (7 May)"), (3, 0)),
        (ranked("3, 0, and 7"), (3, 0, 7)),
        (ranked("3,0,"), (3, 0)),
        (ranked(",3,,0"), (3, 0)),
        (ranked("3,3,0,3"), (3, 0)),
        (ranked("3,8,0,800"), (3, 0)),
        (ranked("1-3"), (1, 3)),
        (ranked("1 - 3 – 0"), (1, 3, 0)),
        (ranked("-1,3"), (3,)),
        (ranked("3, -1, −2, 0"), (3, 0)),
        (ranked("3 -1"), (3,)),
        (ranked("9" * 50_000 + ",3"), (3,)),
        ("<think>a</think><ranking>3,0", (3, 0)),
        ("<think>a</think><ranking>3,0\nI chose 5 because of 1", (3, 0)),
        ("<ranking>3,0</ranking>", (3, 0)),
        ("a</think><ranking>3,0</ranking>", (3, 0)),
        ("<think>a<ranking>3,0</ranking>", (3, 0)),
        ("<THINK>a</THINK><Ranking>3,0</RANKING>", (3, 0)),
        ("<think>a</think>The ranking: <ranking>3,0</ranking> Done.", (3, 0)),
        ("<think><ranking>1,2</ranking> no</think><ranking>3,0</ranking>", (3, 0)),
        ("<think>a</think><ranking>1</ranking><think>b</think><ranking>3,0</ranking>", (3, 0)),
        ("<think>a</think><ranking>1,2</ranking> or rather <ranking>3,0</ranking>", (3, 0)),
        ("<think>a</think>3,0", (3, 0)),
        ("<think>a</think>[3, 0]", (3, 0)),
        ("<think>a</think>3,0</ranking>", (3, 0)),
        ("3,0,7", (3, 0, 7)),
    ],
)
def test_what_can_be_read_is_repaired(text: str, indices: tuple[int, ...]) -> None:
    assert parse_ranking(text, 8) == ParsedRanking(indices, "repaired")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I do not know",
        "The answer is in session 3.",
        "In 3 of 7 sessions",
        ranked(""),
        ranked("none"),
        ranked("-1"),
        ranked("8,9"),
        ranked("9" * 50_000),
        "<think><ranking>3,0</ranking></think>",
        "<think>session 3</think>",
        "<think>a</think><ranking>",
    ],
)
def test_what_names_no_candidate_is_failed(text: str) -> None:
    assert parse_ranking(text, 8) == ParsedRanking((), "failed")


@pytest.mark.parametrize(
    "body",
    [
        '[{"rank": 1, "session": 7}, {"rank": 2, "session": 3}]',
        '{"7": 0.9, "3": 0.5}',
        "| 1 | 7 |\n| 2 | 3 |",
        "| Rank | Session |\n|---|---|\n| 1 | 7 |",
        "1,7\n2,3",
        "1 7\n2 3",
        "1. 7",
        "1: 7, 2: 3",
        "2. 7\n5. 3",
        "2.5,0",
        "7 for 3 reasons",
        "Session 3, 2 dogs",
        "none of the 3",
    ],
)
def test_a_list_whose_numbers_could_be_something_else_is_failed(body: str) -> None:
    assert parse_ranking(ranked(body), 8) == ParsedRanking((), "failed")


def test_a_ranking_that_only_repeats_the_instruction_does_not_count() -> None:
    own = "<think>a</think><ranking>3,0</ranking>"
    assert parse_ranking(f"{own} Reply as <ranking>numbers, best first</ranking>", 8).indices == (3, 0)


OPENED = "<think>\n"


def test_a_thought_that_the_prompt_opened_belongs_to_the_output() -> None:
    rest = "session 2 has it.\n</think>\n\n<ranking>2,1</ranking>"
    assert parse_ranking(OPENED + rest, 3, base=1) == ParsedRanking((1, 0), "ok")
    assert parse_ranking(rest, 3, base=1) == ParsedRanking((1, 0), "repaired")


def test_without_candidates_nothing_can_be_ranked() -> None:
    assert parse_ranking(ranked("0"), 0) == ParsedRanking((), "failed")


@given(messy_texts, st.integers(0, 20), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_valid_unique_indices(text: str, num_candidates: int, base: int) -> None:
    for output in (text, ranked(text)):
        parsed = parse_ranking(output, num_candidates, base)
        assert len(set(parsed.indices)) == len(parsed.indices)
        assert all(0 <= index < num_candidates for index in parsed.indices)
        assert (parsed.status == "failed") == (parsed.indices == ())


@given(st.data(), st.integers(1, 600), st.integers(0, 1))
@settings(max_examples=100, deadline=None)
def test_the_format_round_trips(data: st.DataObject, num_candidates: int, base: int) -> None:
    indices = data.draw(st.lists(st.integers(0, num_candidates - 1), unique=True, min_size=1, max_size=30))
    thought = data.draw(st.text().filter(lambda text: "<" not in text))
    text = f"<think>{thought}</think><ranking>{','.join(str(index + base) for index in indices)}</ranking>"
    assert parse_ranking(text, num_candidates, base) == ParsedRanking(tuple(indices), "ok")


@pytest.mark.parametrize(
    "garbage",
    [
        "1 " * 50_000,
        "1" * 100_000,
        "1(" * 50_000,
        "1" + " " * 100_000 + "x",
        ("1" + " " * 300) * 330 + "x",
        "# " * 50_000,
        "session " * 12_500 + "x",
        "<think>" * 14_000,
        "<ranking>" * 11_000,
        "</ranking>" * 10_000,
        "<" * 100_000,
        "-1" * 50_000,
        "1 - " * 25_000,
        "," * 100_000,
        "[" * 100_000,
    ],
    ids=lambda text: text[:9].strip(),
)
def test_long_garbage_is_read_in_linear_time(garbage: str) -> None:
    started = time.process_time()
    for text in (garbage, f"<think>{garbage}", f"<ranking>{garbage}", ranked(garbage), ranked(f"1{garbage}")):
        parse_ranking(text, 10)
    assert time.process_time() - started < 5  # quadratic time would take minutes


@given(st.lists(st.integers(0, 9), unique=True), st.permutations(range(10)))
@settings(max_examples=50, deadline=None)
def test_a_completed_ranking_holds_everything_once(named: list[int], rest: list[int]) -> None:
    ranking = complete_ranking(named, rest)
    assert sorted(ranking) == list(range(10))
    assert ranking[: len(named)] == named
    assert ranking[len(named) :] == [number for number in rest if number not in named]

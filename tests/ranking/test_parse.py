# ruff: noqa: RUF001 - look-alike characters are what some of these tests are about
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.llm.prompts import prompt_path
from memsifter.ranking.parse import ParsedRanking, complete, parse_ranking
from memsifter.ranking.prompt import load_ranker_prompt

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
        (ranked("2.5,0"), (2, 0)),
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


@pytest.mark.parametrize("name", ["ranker", "ranker_deep_research"])
@given(text=messy_texts)
@settings(max_examples=100, deadline=None)
def test_ok_means_that_the_prompt_files_pattern_matches(name: str, text: str) -> None:
    pattern = load_ranker_prompt(prompt_path(name)).output_pattern
    for output in (text, ranked(text), ranked("3, 1"), f"<think>{text}</think><ranking>1</ranking>"):
        parsed = parse_ranking(output, 10**17)
        if parsed.status == "ok":
            assert re.fullmatch(pattern, output)
        elif re.fullmatch(pattern, output):
            numbers = re.findall(r"\d+", output.rpartition("<ranking>")[2])
            assert len(set(map(int, numbers))) < len(numbers)


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
    started = time.perf_counter()
    for text in (garbage, f"<think>{garbage}", f"<ranking>{garbage}", ranked(garbage), ranked(f"1{garbage}")):
        parse_ranking(text, 10)
    assert time.perf_counter() - started < 5  # quadratic time would take minutes


def test_complete_appends_what_was_not_named_in_the_order_shown() -> None:
    assert complete([3, 0], 5) == [3, 0, 1, 2, 4]
    assert complete([], 3) == [0, 1, 2]
    assert complete((1, 0), 2) == [1, 0]

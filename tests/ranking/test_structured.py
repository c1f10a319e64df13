import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.ranking.parse import parse_ranking, ranking_regex


def output(numbers: list[int], thought: str = "") -> str:
    return f"<think>{thought}</think><ranking>{','.join(map(str, numbers))}</ranking>"


@given(st.integers(1, 1200), st.integers(0, 120))
@settings(max_examples=100, deadline=None)
def test_exactly_the_candidates_numbers_are_admitted(num_candidates: int, base: int) -> None:
    pattern = re.compile(ranking_regex(num_candidates, base, max_ranked=1, think_chars=0))
    admitted = [number for number in range(base + num_candidates + 300) if pattern.fullmatch(output([number]))]
    assert admitted == list(range(base, base + num_candidates))
    assert not pattern.fullmatch(f"<think></think><ranking>0{base}</ranking>")


@given(st.data(), st.integers(1, 60), st.integers(0, 1), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_whatever_matches_can_be_parsed(data: st.DataObject, num_candidates: int, base: int, max_ranked: int) -> None:
    text = data.draw(st.from_regex(ranking_regex(num_candidates, base, max_ranked, think_chars=20), fullmatch=True))
    parsed = parse_ranking(text, num_candidates, base)
    written = [int(digits) - base for digits in text.rpartition("<ranking>")[2].removesuffix("</ranking>").split(",")]
    assert parsed.indices == tuple(dict.fromkeys(written))
    assert parsed.status == ("ok" if len(set(written)) == len(written) else "repaired")
    assert len(written) <= min(max_ranked, num_candidates)


def test_length_limits() -> None:
    pattern = ranking_regex(5, base=1, max_ranked=3, think_chars=4)
    assert re.fullmatch(pattern, output([1, 2, 3], "é\n中x"))
    assert not re.fullmatch(pattern, output([1, 2, 3, 4]))
    assert not re.fullmatch(pattern, output([]))
    assert not re.fullmatch(pattern, output([1], "12345"))
    assert not re.fullmatch(pattern, output([1], "<"))
    assert re.fullmatch(ranking_regex(2, base=1, max_ranked=10, think_chars=0), output([1, 2]))
    assert not re.fullmatch(ranking_regex(2, base=1, max_ranked=10, think_chars=0), output([1, 2, 1]))


@given(st.integers(0, 70), st.integers(0, 90))
def test_thoughts_of_every_admitted_length_and_no_longer_ones(longest: int, length: int) -> None:
    pattern = ranking_regex(3, base=1, max_ranked=1, think_chars=longest)
    assert bool(re.fullmatch(pattern, output([1], "x" * length))) == (length <= longest)


@pytest.mark.slow
def test_the_grammar_of_long_thoughts_compiles_many_times_faster_in_blocks() -> None:
    """2.4 s of processor time with one repetition of 4,000 characters, 0.1 s in blocks of eight."""
    xgrammar = pytest.importorskip("xgrammar")
    words = [f" {first}{second}" for first in range(400) for second in range(400)]  # as many tokens as Qwen3 has
    tokens = xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)] + [word.encode() for word in words])
    compiler = xgrammar.GrammarCompiler(tokens, max_threads=1, cache_enabled=False)
    blocks = ranking_regex(100, base=1, max_ranked=10, think_chars=4000)
    thoughts = blocks[len("<think>") : blocks.index("</think>")]
    seconds = {}
    for pattern in (blocks, blocks.replace(thoughts, "[^<]{0,4000}")):
        started = time.process_time()
        compiler.compile_regex(pattern)
        seconds[pattern] = time.process_time() - started
    assert seconds[blocks] < min(seconds[pattern] for pattern in seconds if pattern != blocks) / 4


def test_the_pattern_stays_small() -> None:
    assert len(ranking_regex(500, base=1, max_ranked=10, think_chars=400)) < 200
    assert len(ranking_regex(98_765, base=1, max_ranked=500, think_chars=4000)) < 600


def test_the_structured_output_engine_reads_it_as_python_does() -> None:
    xgrammar = pytest.importorskip("xgrammar")
    from xgrammar.testing import _is_grammar_accept_string as accepts

    pattern = ranking_regex(120, base=1, max_ranked=3, think_chars=21)
    grammar = xgrammar.Grammar.from_regex(pattern)
    texts = [
        output(numbers, thought)
        for numbers in ([], [0], [1], [120], [121], [9, 10, 99], [1, 2, 3, 4])
        for thought in ("", "a\né", "<", "1" * 15, "1" * 16, "1" * 21, "1" * 22)
    ]
    assert [accepts(grammar, text) for text in texts] == [bool(re.fullmatch(pattern, text)) for text in texts]


@pytest.mark.parametrize("arguments", [(0, 1, 1, 0), (1, -1, 1, 0), (1, 1, 0, 0), (1, 1, 1, -1)])
def test_impossible_requests_are_refused(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot rank"):
        ranking_regex(*arguments)

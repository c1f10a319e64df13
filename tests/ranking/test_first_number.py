"""The probabilities of the first number: of one token or several, whatever the tokenizer."""

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizer import byte_tokenizer
from tokenizers import Tokenizer  # type: ignore[import-untyped]
from tokenizers.models import WordLevel  # type: ignore[import-untyped]
from transformers import PreTrainedTokenizerFast

from memsifter.errors import MemSifterError
from memsifter.io.text_cache import TextCache
from memsifter.llm.tokens import load_tokenizer
from memsifter.params import EngineParams, load_params
from memsifter.ranking import engine as engine_module
from memsifter.ranking.engine import Response, TokenPrompt, generate_cached, one_by_one
from memsifter.ranking.first_number import (
    before_number,
    branches,
    log_probabilities,
    number_tokens,
    scoring_prompts,
)

TOKENIZER = byte_tokenizer()  # one token per digit
PROMPT = TokenPrompt("q#1", [1, 2, 3], {})


@pytest.mark.parametrize(
    ("opened", "written", "expected"),
    [
        ("", None, "<think></think><ranking>"),
        ("<think>\n", None, "</think><ranking>"),
        ("<think>\n\n</think>\n\n", None, "<ranking>"),
        ("", "<think>is it <ranking>1?</think><ranking>3,1</ranking>", "<think>is it <ranking>1?</think><ranking>"),
        ("<think>\n", "yes</think>\n<ranking>2", "yes</think>\n<ranking>"),
        ("", "<think>never ends, <ranking>1</think>", None),
        ("", "no ranking", None),
    ],
)
def test_what_stands_before_the_first_number(opened: str, written: str | None, expected: str | None) -> None:
    assert before_number(opened, written) == expected


def test_numbers_part_at_their_digits() -> None:
    head, labels = number_tokens("<ranking>", range(1, 13), TOKENIZER)
    assert TOKENIZER.decode(head) == "<ranking>"
    assert [TOKENIZER.decode(label) for label in labels] == [str(number) for number in range(1, 13)]
    one = labels[0]
    parting = branches(labels)
    assert list(parting) == [(), one], "after the tag, and after a 1, which may go on to 10, 11 or 12"
    assert sorted(TOKENIZER.decode([token]) for token in parting[()]) == [str(digit) for digit in range(1, 10)]
    assert sorted(TOKENIZER.decode([token]) for token in parting[one]) == ["0", "1", "2"]
    assert [prompt.tokens for prompt in scoring_prompts(PROMPT, head, labels)] == [
        [1, 2, 3, *head],
        [1, 2, 3, *head, *one],
    ]


@given(st.integers(1, 130), st.integers(0, 1))
@settings(max_examples=60, deadline=None)
def test_few_prompts_score_many_candidates(candidates: int, base: int) -> None:
    _, labels = number_tokens("<ranking>", range(base, base + candidates), TOKENIZER)
    prompts = scoring_prompts(PROMPT, [], labels)
    assert len(prompts) <= 1 + candidates / 9
    assert len({prompt.prompt_id for prompt in prompts}) == len(prompts)
    assert all(len(prompt.sampling["logprob_token_ids"]) <= 10 for prompt in prompts)


def test_a_tokenizer_that_joins_the_number_with_the_tag_is_refused() -> None:
    words = Tokenizer(WordLevel({"<ranking>": 0, "<ranking>1": 1, "<ranking>2": 2}))
    joining = PreTrainedTokenizerFast(tokenizer_object=words)
    with pytest.raises(MemSifterError, match=r"joins the number 1 with <ranking>; set rank\.scores to written"):
        number_tokens("<ranking>", [1, 2], joining)


# A language of digits 0 to 3 and an end: the next token depends on what was written.
def _next(path: tuple[int, ...], seed: int) -> list[float]:
    weights = np.random.default_rng([seed, 9, *path]).dirichlet(np.ones(5))
    return [float(value) for value in weights]


@given(st.integers(0, 1000), st.data())
@settings(max_examples=60, deadline=None)
def test_probabilities_are_those_of_all_continuations(seed: int, data: st.DataObject) -> None:
    every = [path for length in (1, 2, 3) for path in product(range(4), repeat=length)]
    labels = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=12, unique=True))
    responses = {
        f"q#{number}": Response("", "", 1, 1, {token: math.log(_next(path, seed)[token]) for token in tokens})
        for number, (path, tokens) in enumerate(branches(labels).items())
    }
    found = np.exp(log_probabilities("q", labels, responses))
    assert found.sum() == pytest.approx(1, abs=1e-3)

    def weight(label: tuple[int, ...]) -> float:
        """What a grammar of these labels would make of it: impossible tokens are left out at each step."""
        total = 1.0
        for length in range(len(label) + 1):
            path = label[:length]
            going_on = {other[length] for other in labels if other[:length] == path and len(other) > length}
            chances = {token: _next(path, seed)[token] for token in going_on}
            if path in labels:
                chances[-1] = 1 - sum(chances.values())
            total *= chances[label[length] if length < len(label) else -1] / sum(chances.values())
        return total

    assert found == pytest.approx([weight(label) for label in labels], rel=2e-3, abs=1e-6)


@given(st.permutations(range(12)))
@settings(max_examples=30, deadline=None)
def test_permuting_the_candidates_permutes_their_scores(order: list[int]) -> None:
    _, labels = number_tokens("<ranking>", range(1, 13), TOKENIZER)
    given_logprobs = {token: -1.0 - 0.1 * token % 1 for label in labels for token in label}
    responses = {f"q#{number}": Response("", "", 1, 1, given_logprobs) for number in range(2)}
    whole = log_probabilities("q", labels, responses)
    assert log_probabilities("q", [labels[place] for place in order], responses).tolist() == whole[order].tolist()


@pytest.mark.parametrize(("device", "alone"), [("cpu", True), ("cuda", False)])
def test_on_a_cpu_numbers_are_read_one_prompt_at_a_time(device: str, alone: bool) -> None:
    # Beside others in a batch a prompt's log-probabilities differ by some 1e-5, and with them what a stage writes.
    engine = load_params().rank.engine.model_copy(update={"device": device})
    scoring = scoring_prompts(PROMPT, [], [(1,), (2,)])
    assert one_by_one(scoring, engine) is alone
    assert not one_by_one([*scoring, PROMPT], engine), "writing is faster side by side, and texts are the same"


def test_prompts_that_are_read_alone_have_an_engine_and_entries_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, list[str]]] = []

    def answer(prompts: list[TokenPrompt], _: Path, engine: EngineParams, *__: Any, **___: Any) -> Iterator[Response]:
        asked.append((engine.max_num_seqs, [prompt.prompt_id for prompt in prompts]))
        return (Response(prompt.prompt_id, "", 1, 1, {1: -0.5, 2: -1.0}) for prompt in prompts)

    monkeypatch.setattr(engine_module, "generate", answer)
    (tmp_path / "model").mkdir()
    params, cache = load_params(), TextCache(tmp_path / "cache")
    scoring = scoring_prompts(PROMPT, [], [(1,), (2,)])
    for prompts in (scoring, [*scoring, PROMPT], scoring):
        generate_cached(prompts, tmp_path / "model", cache, params.rank, params.cluster, seed=1)
    # What was read beside others is not taken for what was read alone.
    assert asked == [(1, ["q#1#0"]), (params.rank.engine.max_num_seqs, ["q#1#0", "q#1"]), (1, [])]


def test_an_engine_without_log_probabilities_is_an_error() -> None:
    labels = [(1,), (2,)]
    for given_logprobs in (None, {1: -1.0}):
        with pytest.raises(MemSifterError, match=r"gave no log-probabilities; set rank\.scores to written"):
            log_probabilities("q", labels, {"q#0": Response("", "", 1, 1, given_logprobs)})


@pytest.mark.slow
def test_the_engine_gives_the_model_s_probabilities(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from memsifter.models.tiny import write_tiny_model

    params = load_params()
    write_tiny_model(tmp_path / "model", 7)
    tokenizer = load_tokenizer(tmp_path / "model")
    tokens = list(tokenizer(["the answer is <ranking>"], add_special_tokens=False).input_ids[0])
    head, labels = number_tokens("<ranking>", range(1, 9), tokenizer)
    prompts = scoring_prompts(TokenPrompt("q", tokens[: -len(head)], {}), head, labels)
    cache = TextCache(tmp_path / "cache")
    answers = [
        generate_cached(prompts, tmp_path / "model", cache, params.rank, params.cluster, seed=1) for _ in range(2)
    ]
    assert answers[0] == answers[1], "what comes from the cache is what the engine gave"
    scores = log_probabilities("q", labels, answers[0])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, -1]
    expected = torch.log_softmax(logits[[label[0] for label in labels]], dim=0)
    assert scores == pytest.approx(expected.numpy(), abs=2e-3)

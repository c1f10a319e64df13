"""The reader against the definition: one text at a time, all logits, a loop over the tokens."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from memsifter.errors import MemSifterError
from memsifter.likelihood.model import LikelihoodReader, ScoredText, form_batches, max_positions
from memsifter.params import LikelihoodParams

PARAMS = LikelihoodParams(batch_tokens=256)


def random_texts(count: int, vocabulary: int, longest: int = 60) -> list[ScoredText]:
    rng = random.Random(3)
    lengths = sorted((rng.randint(8, longest) for _ in range(count)), reverse=True)
    return [
        ScoredText(tuple(rng.randrange(vocabulary) for _ in range(length)), rng.randint(1, 7)) for length in lengths
    ]


def reference(directory: Path, text: ScoredText) -> float:
    """Sum of log P(token | tokens before it) over the scored tokens, from the logits of the whole text."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([text.tokens])).logits[0]
    total = 0.0
    for place in range(len(text.tokens) - text.scored, len(text.tokens)):
        total += torch.log_softmax(logits[place - 1].double(), dim=0)[text.tokens[place]].item()
    return total


def read(directory: Path, texts: list[ScoredText], params: LikelihoodParams = PARAMS) -> list[float]:
    reader = LikelihoodReader(str(directory), params)
    batches = form_batches([len(text.tokens) for text in texts], params.batch_tokens)
    return [float(value) for batch in batches for value in reader.score([texts[place] for place in batch])]


def soft_capped(directory: Path) -> Path:
    """Gemma 2 caps its logits after the output layer, and some of its layers see a short window only."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=16,
        final_logit_softcapping=2.0,
        initializer_range=0.5,
    )
    Gemma2ForCausalLM(config).save_pretrained(directory)
    return directory


def with_learned_positions(directory: Path) -> Path:
    """GPT-2 has a vector for each of its positions, and fails beyond the last."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=61, initializer_range=0.5)
    GPT2LMHeadModel(config).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("make", [soft_capped, with_learned_positions])
def test_every_architecture_gives_what_the_definition_gives(make: Callable[[Path], Path], tmp_path: Path) -> None:
    texts = random_texts(12, 300, longest=61)
    directory = make(tmp_path / "model")
    assert read(directory, texts) == pytest.approx([reference(directory, text) for text in texts], abs=1e-3)


def test_the_tiny_model_gives_what_the_definition_gives(tiny_model: Path) -> None:
    texts = random_texts(20, 300)
    assert read(tiny_model, texts) == pytest.approx([reference(tiny_model, text) for text in texts], abs=1e-3)


def test_neighbours_change_nothing(tiny_model: Path) -> None:
    texts = random_texts(20, 300, longest=48)
    together = read(tiny_model, texts, PARAMS.model_copy(update={"batch_tokens": 480}))
    alone = [read(tiny_model, [text])[0] for text in texts]
    mixed = LikelihoodReader(str(tiny_model), PARAMS).score(list(reversed(texts)))
    assert alone == pytest.approx(together, abs=1e-3)
    assert list(reversed(mixed)) == pytest.approx(together, abs=1e-3)


def test_half_precision_is_close(tiny_model: Path) -> None:
    texts = random_texts(12, 300)
    half = read(tiny_model, texts, PARAMS.model_copy(update={"dtype": "bfloat16"}))
    np.testing.assert_allclose(half, read(tiny_model, texts), rtol=0.02)


@given(st.lists(st.integers(1, 200)), st.integers(1, 500))
def test_batches_hold_every_text_once_and_keep_the_bound(lengths: list[int], batch_tokens: int) -> None:
    ordered = sorted(lengths, reverse=True)
    batches = list(form_batches(ordered, batch_tokens))
    assert [place for batch in batches for place in batch] == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * ordered[batch.start] <= batch_tokens for batch in batches)


@given(st.lists(st.integers(1, 60), min_size=1), st.integers(1, 300), st.data())
def test_a_run_that_resumes_computes_the_batches_that_are_missing(
    lengths: list[int], batch_tokens: int, data: st.DataObject
) -> None:
    ordered = sorted(lengths, reverse=True)
    batches = [tuple(batch) for batch in form_batches(ordered, batch_tokens)]
    missing = data.draw(st.lists(st.sampled_from(batches), unique=True).map(sorted))
    left = [place for batch in missing for place in batch]
    again = form_batches([ordered[place] for place in left], batch_tokens)
    assert [tuple(left[place] for place in batch) for batch in again] == missing


def test_only_causal_models_read(tiny_model: Path, tmp_path: Path) -> None:
    assert max_positions(tiny_model) == 4096
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(MemSifterError, match=r"BertModel is not a causal LM .* set retrieval\.likelihood\.model"):
        max_positions(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BloomForCausalLM"]}))
    assert max_positions(tmp_path) is None, "its positions have no limit"

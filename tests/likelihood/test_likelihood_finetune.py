"""Training the likelihood: the loss against its definition, what a training teaches, and that it can be interrupted."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memsifter.errors import MemSifterError
from memsifter.likelihood import finetune as module
from memsifter.likelihood.finetune import Example, batches, finetune, learning_rate, listwise_loss
from memsifter.likelihood.model import LikelihoodReader, ScoredText
from memsifter.models.adapters import merge_adapter
from memsifter.params import LikelihoodFitParams, LikelihoodParams

PARAMS = LikelihoodFitParams(
    model="base", datasets=("toy",), epochs=6, learning_rate=0.01, lora_rank=4, weight=1.0, save_every=2
)


def echo_examples(count: int) -> list[Example]:
    """The gold session begins with the question's own tokens; the coarse scores know nothing."""
    rng = random.Random(5)
    examples = []
    for number in range(count):
        question = [rng.randrange(300, 340) for _ in range(4)]
        sessions = [[rng.randrange(300, 340) for _ in range(8)] for _ in range(3)]
        gold = number % 3
        sessions[gold][:4] = question
        texts = tuple(ScoredText((*session, *question), len(question)) for session in sessions)
        examples.append(Example(str(number), texts, np.zeros(3), np.arange(3) == gold))
    return examples


def test_the_loss_is_the_cross_entropy_between_gold_and_softmax() -> None:
    log_likelihoods, prior, gold = torch.tensor([-9.0, -4.0, -6.0]), torch.tensor([0.5, 0.0, -1.0]), [0, 2]
    scores = [0.5 - 0.3 * 9, -0.3 * 4, -1 - 0.3 * 6]
    total = sum(np.exp(score) for score in scores)
    expected = -np.mean([np.log(np.exp(scores[place]) / total) for place in gold])
    mask = torch.tensor([True, False, True])
    assert listwise_loss(log_likelihoods, prior, mask, 0.3).item() == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_every_epoch_holds_every_question_once(count: int, size: int, epochs: int, seed: int) -> None:
    params = PARAMS.model_copy(update={"batch_questions": size, "epochs": epochs})
    steps = batches(count, params, seed)
    per_epoch = -(-count // size)
    for epoch in range(epochs):
        seen = [number for step in steps[epoch * per_epoch : (epoch + 1) * per_epoch] for number in step]
        assert sorted(seen) == list(range(count))
    assert len(steps) == epochs * per_epoch


@given(st.integers(1, 500))
def test_the_learning_rate_rises_then_falls_and_stays_positive(steps: int) -> None:
    rates = [learning_rate(step, steps, 1.0) for step in range(steps)]
    top = int(np.argmax(rates))
    assert min(rates) > 0
    assert max(rates) <= 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def stop_after(
    steps: int, examples: list[Example], model: Path, params: LikelihoodFitParams, cache: Path, adapter: Path
) -> None:
    """A training that is interrupted after so many steps."""

    class StoppedError(Exception):
        pass

    left = iter(range(steps))
    real = module._take_step

    def step_or_stop(*arguments: Any) -> float:
        if next(left, None) is None:
            raise StoppedError
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_take_step", step_or_stop)
        with pytest.raises(StoppedError):
            finetune(examples, model, params, cache, adapter, seed=3)


@pytest.mark.slow
def test_a_training_teaches_and_goes_on_where_it_was_stopped(tiny_model: Path, tmp_path: Path) -> None:
    examples = echo_examples(24)
    whole = finetune(examples, tiny_model, PARAMS, tmp_path / "cache", tmp_path / "whole", seed=3)
    assert len(whole) == 36
    assert np.mean(whole[-6:]) < 0.8 * np.mean(whole[:6]), "it learns to see the question in the session"

    stop_after(9, examples, tiny_model, PARAMS, tmp_path / "other", tmp_path / "stopped")
    resumed = finetune(examples, tiny_model, PARAMS, tmp_path / "other", tmp_path / "resumed", seed=3)
    assert resumed == pytest.approx(whole, abs=1e-3)
    assert not (tmp_path / "stopped").exists()

    merged = tmp_path / "merged"
    merged.mkdir()
    merge_adapter(tiny_model, tmp_path / "whole", merged)
    texts = [text for example in examples for text in example.texts]
    gold = np.concatenate([example.gold for example in examples])
    for directory, wins in ((tiny_model, False), (merged, True)):
        reader = LikelihoodReader(str(directory), LikelihoodParams(batch_tokens=2048))
        values = np.concatenate([reader.score(texts[start : start + 24]) for start in range(0, len(texts), 24)])
        first = values.reshape(-1, 3).argmax(1) == gold.reshape(-1, 3).argmax(1)
        assert (first.mean() > 0.6) == wins


@pytest.mark.slow
def test_a_model_with_dropout_goes_on_as_if_it_had_not_been_stopped(tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.2}))
    examples, params = echo_examples(24), PARAMS.model_copy(update={"epochs": 1})
    whole = finetune(examples, model, params, tmp_path / "cache", tmp_path / "whole", seed=3)
    stop_after(3, examples, model, params, tmp_path / "other", tmp_path / "stopped")
    resumed = finetune(examples, model, params, tmp_path / "other", tmp_path / "resumed", seed=3)
    assert resumed == pytest.approx(whole, abs=1e-3)


def test_nothing_to_learn_from_is_told(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="no train question has both a gold session and another one"):
        finetune([], tiny_model, PARAMS, tmp_path, tmp_path / "adapter", seed=3)


def test_half_an_adapter_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(MemSifterError, match=r"adapter_model\.safetensors is missing"):
        merge_adapter(tiny_model, tmp_path, tmp_path)

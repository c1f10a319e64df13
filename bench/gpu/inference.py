"""The steps that read and write text: the rank stage's engine, the likelihood of questions, and the embedder."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.gpu.setup import LOCAL_RAY, Setup
from bench.side_by_side.timing import in_process

_WRITTEN = 32  # tokens of a response
_SHARING = 4  # prompts of one haystack
_FEW = 8  # the first one in so many prompts are the run that measures the engine's start
_READ_TOKENS, _SCORED_TOKENS = 160, 24  # of an excerpt with its question, and of the question
_READ_TOGETHER = 100  # excerpts


def measure_engine(setup: Setup) -> dict[str, Any]:
    """Tokens per second of vLLM's offline generation and of the rank stage's, and the prefix cache's share.

    Prompts come in fours that share nine tenths, as questions do that share a haystack.
    """
    model = setup.write_model(setup.prompt_tokens + _WRITTEN)
    shared = setup.prompt_tokens * 9 // 10
    prompts = [
        [3 + (7 * (index // _SHARING) + token * token) % 250 for token in range(shared)]
        + [3 + (11 * index + 5 * token) % 250 for token in range(setup.prompt_tokens - shared)]
        for index in range(setup.prompts)
    ]
    few_count = max(_SHARING, len(prompts) // _FEW // _SHARING * _SHARING)
    if few_count == len(prompts):
        raise ValueError(f"engine needs more than {_SHARING} prompts, and there are {len(prompts)}")
    offline = in_process(_offline, setup, model, prompts)
    # Both runs start an engine: what the longer one takes more, it takes for its prompts.
    few, all_of_them = (in_process(_pipeline, setup, model, rows) for rows in (prompts[:few_count], prompts))
    rate = (all_of_them["tokens"] - few["tokens"]) / (all_of_them["seconds"] - few["seconds"])
    return {
        **{f"offline {name}": value for name, value in offline.items()},
        "pipeline start s, first prompts included": few["seconds"],
        "pipeline tokens/s": rate,
        "pipeline / offline": rate / offline["tokens/s"],
    }


def _offline(setup: Setup, model: Path, prompts: Sequence[list[int]]) -> dict[str, float]:
    from memsifter.llm.runtime import engine_arguments, engine_environment

    engine = setup.engine(setup.prompt_tokens + _WRITTEN)
    os.environ |= engine_environment(engine)
    from vllm import LLM, SamplingParams

    started = time.monotonic()
    llm = LLM(model=str(model), **engine_arguments(engine, seed=0))
    ready = time.monotonic()
    outputs = llm.generate(
        [{"prompt_token_ids": tokens} for tokens in prompts],
        SamplingParams(temperature=0, max_tokens=_WRITTEN, ignore_eos=True),
        use_tqdm=False,
    )
    seconds = time.monotonic() - ready
    return {
        "start s": ready - started,
        "tokens/s": sum(len(tokens) + _WRITTEN for tokens in prompts) / seconds,
        "share of prompt tokens from the prefix cache": sum(output.num_cached_tokens or 0 for output in outputs)
        / sum(map(len, prompts)),
    }


def _pipeline(setup: Setup, model: Path, prompts: Sequence[list[int]]) -> dict[str, float]:
    from memsifter.ranking.engine import TokenPrompt, generate

    sampling = {"temperature": 0, "max_tokens": _WRITTEN, "ignore_eos": True}
    rows = [TokenPrompt(str(index), tokens, sampling) for index, tokens in enumerate(prompts)]
    engine = setup.engine(setup.prompt_tokens + _WRITTEN)
    started = time.monotonic()
    responses = list(generate(rows, model, engine, LOCAL_RAY, concurrency=1, batch_size=32, seed=0))
    tokens = sum(response.prompt_tokens + response.response_tokens for response in responses)
    return {"seconds": time.monotonic() - started, "tokens": float(tokens)}


def measure_likelihood(setup: Setup) -> dict[str, Any]:
    """Tokens per second of the likelihood's reader, in large batches and one text at a time, and how they agree."""
    from memsifter.likelihood.model import LikelihoodReader, ScoredText
    from memsifter.params import LikelihoodParams

    values = {"gpus_per_worker": float(setup.device == "cuda"), "dtype": setup.dtype}
    model = setup.write_model(setup.prompt_tokens + _WRITTEN)
    reader = LikelihoodReader(str(model), LikelihoodParams.model_validate(values))
    random = np.random.default_rng(0)
    texts = [
        ScoredText(tuple(random.integers(3, 250, _READ_TOKENS).tolist()), _SCORED_TOKENS) for _ in range(setup.prompts)
    ]
    reader.score(texts[:_READ_TOGETHER])
    figures: dict[str, Any] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    for name, size in (("batched", _READ_TOGETHER), ("one at a time", 1)):
        started = time.monotonic()
        scores[name] = np.concatenate([reader.score(texts[at : at + size]) for at in range(0, len(texts), size)])
        figures[f"{name} tokens/s"] = len(texts) * _READ_TOKENS / (time.monotonic() - started)
    difference = np.abs(scores["batched"] - scores["one at a time"]).max()
    return figures | {"largest difference in nats": float(difference)}


def measure_embedding(setup: Setup) -> dict[str, Any]:
    """Texts and tokens per second of the embed stage's encoder."""
    from transformers import AutoTokenizer

    from memsifter.params import EmbedParams
    from memsifter.retrieval.encoder import Encoder

    directory = setup.write_embedder()
    params = EmbedParams.model_validate({"batch_size": 64, "gpus_per_worker": float(setup.device == "cuda")})
    encoder = Encoder(str(directory), params, 256)
    texts = [f"session {index}: " + "they talked about food and work " * 20 for index in range(setup.prompts)]
    tokens = sum(min(256, len(ids)) for ids in AutoTokenizer.from_pretrained(directory)(texts)["input_ids"])
    encoder.encode(texts[:8])
    started = time.monotonic()
    encoder.encode(texts)
    seconds = time.monotonic() - started
    return {"texts/s": len(texts) / seconds, "tokens/s": tokens / seconds}

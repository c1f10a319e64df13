"""What a bare GPU machine does with this code: python -m bench.gpu [STEP ...] [--device cpu].

Each step works alone, prints its figures, and needs no network:
  engine     the rank stage's engine against vLLM's own offline generation on the same prompts, and how much of prompts
             that share a haystack comes from the prefix cache
  attention  forward and backward pass of a random model: a packed row against one sequence at a time, and against the
             memory plan
  train      ten steps of a tiny model with vLLM's rollout, stopped at the sixth, resumed, collected, merged, sampled
  embed      texts per second of an embedder (--embedder), in the actor that the embed stage uses
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memsifter.io.paths import ROOT
from memsifter.params import ClusterParams, EngineParams

sys.path.insert(0, str(ROOT / "tests"))
_SHAPE = ROOT / "tests" / "model_shapes" / "qwen3_0.6b"
_GIB = 1 << 30
_LOCAL_RAY = ClusterParams()  # with all that the machine has
_ONE_ENGINE = {"concurrency": 1, "batch_size": 16, "seed": 0}


@dataclass(frozen=True)
class Setup:
    """What the steps run on: `cuda` or `cpu`, sizes, models and a folder for what they write."""

    device: str
    prompts: int
    prompt_tokens: int
    shape: Path
    embedder: Path | None
    folder: Path

    def engine(self) -> EngineParams:
        """VLLM's settings: bfloat16 on a GPU."""
        longest = self.prompt_tokens + 64
        return EngineParams.model_validate(
            {
                "device": self.device,
                "dtype": "bfloat16" if self.device == "cuda" else "float32",
                "max_model_len": longest,
                "max_num_batched_tokens": max(longest, 8192 if self.device == "cuda" else 0),
                "gpu_memory_utilization": 0.6,
                "cpu_kv_cache_gib": 1,
            }
        )


def main() -> None:
    """Run the steps that are named, else all, and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)} (default: all)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--prompts", type=int, default=64, help="prompts of `engine`, texts of `embed`")
    parser.add_argument("--prompt-tokens", type=int, default=2048, help="of each, and of a sequence of `attention`")
    parser.add_argument("--shape", type=Path, default=_SHAPE, help="a folder with the config.json for `attention`")
    parser.add_argument("--embedder", type=Path, help="Hugging Face directory for `embed`")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="memsifter-gpu-") as folder:
        setup = Setup(
            options.device, options.prompts, options.prompt_tokens, options.shape, options.embedder, Path(folder)
        )
        for name in options.steps or STEPS:
            started = time.monotonic()
            for figure, value in STEPS[name](setup).items():
                print(f"{name}: {figure}: {value:.4g}" if isinstance(value, float) else f"{name}: {figure}: {value}")
            print(f"{name}: took {time.monotonic() - started:.0f} s", flush=True)


def measure_engine(setup: Setup) -> dict[str, Any]:
    """Tokens per second of both, seconds until the engines are ready, and the prefix cache's share."""
    import multiprocessing

    from memsifter.models.tiny import write_tiny_model

    model = setup.folder / "tiny"
    write_tiny_model(model, max_tokens=setup.prompt_tokens + 64)
    # One haystack for four prompts: a common beginning of nine tenths.
    shared = setup.prompt_tokens * 9 // 10
    prompts = [
        [3 + (index // 4 + token) % 500 for token in range(shared)]
        + [3 + (7 * index + token) % 500 for token in range(setup.prompt_tokens - shared)]
        for index in range(setup.prompts)
    ]
    figures: dict[str, Any] = {}
    for name, measure in (("offline", _offline), ("pipeline", _pipeline)):
        # A process each: an engine gives a GPU's memory back only when it ends.
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(sender, measure, setup, model, prompts))
        process.start()
        sender.close()
        figures |= {f"{name} {key}": value for key, value in receiver.recv().items()}
        process.join()
    return figures


def _send(sender: Any, measure: Callable[..., Mapping[str, Any]], *arguments: Any) -> None:
    sender.send(measure(*arguments))


def _offline(setup: Setup, model: Path, prompts: list[list[int]]) -> dict[str, Any]:
    import os

    from memsifter.llm.runtime import engine_arguments, engine_environment

    os.environ |= engine_environment(setup.engine())
    from vllm import LLM, SamplingParams

    started = time.monotonic()
    engine = LLM(model=str(model), **engine_arguments(setup.engine(), seed=0))
    ready = time.monotonic()
    outputs = engine.generate(
        [{"prompt_token_ids": tokens} for tokens in prompts],
        SamplingParams(temperature=0, max_tokens=32, ignore_eos=True),
        use_tqdm=False,
    )
    seconds = time.monotonic() - ready
    cached = sum(output.num_cached_tokens or 0 for output in outputs)
    return {
        "start s": ready - started,
        "tokens/s": sum(len(tokens) + 32 for tokens in prompts) / seconds,
        "share of prompt tokens from the prefix cache": cached / sum(map(len, prompts)),
    }


def _pipeline(setup: Setup, model: Path, prompts: list[list[int]]) -> dict[str, Any]:
    from memsifter.ranking.engine import TokenPrompt, generate

    sampling = {"temperature": 0, "max_tokens": 32, "ignore_eos": True}
    rows = [TokenPrompt(str(index), tokens, sampling) for index, tokens in enumerate(prompts)]
    started = time.monotonic()
    responses = list(generate(rows, model, setup.engine(), _LOCAL_RAY, **_ONE_ENGINE))
    seconds = time.monotonic() - started
    return {"tokens/s, start included": sum(row.prompt_tokens + row.response_tokens for row in responses) / seconds}


def measure_attention(setup: Setup) -> dict[str, Any]:
    """Seconds and peak memory of a forward and backward pass over two sequences, packed and one at a time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from memsifter.training.memory import read_shape

    cuda, length = setup.device == "cuda", setup.prompt_tokens
    dtype = torch.bfloat16 if cuda else torch.float32
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(setup.shape)
    with torch.device(setup.device):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype)
    model.train().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    shape = read_shape(setup.shape)
    ids = torch.randint(0, shape.vocabulary, (1, length), device=setup.device)
    place = torch.arange(length, device=setup.device)[None]
    figures: dict[str, Any] = {}
    rows = {"one at a time": [(ids, place)] * 2, "packed": [(torch.cat([ids, ids], 1), torch.cat([place, place], 1))]}
    for name, passes in rows.items():
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        started = time.monotonic()
        for row, positions in passes:
            # The blocks alone: verl computes the head in pieces.
            model.model(input_ids=row, position_ids=positions, use_cache=False).last_hidden_state.sum().backward()
        if cuda:
            torch.cuda.synchronize()
            figures[f"{name} peak GiB"] = (torch.cuda.max_memory_allocated() - held) / _GIB
        figures[f"{name} s"] = time.monotonic() - started
        model.zero_grad(set_to_none=True)
    planned = length * (shape.block_bytes(dtype.itemsize) + shape.layers * shape.hidden * dtype.itemsize)
    return figures | {"planned activations and checkpoints GiB": planned / _GIB}


class _StopError(Exception):
    pass


def measure_training(setup: Setup) -> dict[str, Any]:
    """Seconds to the first step and per step, and the checkpoints of a run that was stopped and went on."""
    from training_inputs import train_params, write_inputs

    from memsifter.checkpoints.collect import collect_checkpoints
    from memsifter.checkpoints.merge import merge_checkpoints
    from memsifter.ranking.engine import TokenPrompt, generate
    from memsifter.training.launch import run_training
    from memsifter.training.run_directory import RunDirectory
    from memsifter.training.verl.config import compose_config

    inputs = write_inputs(setup.folder / "inputs")
    train = train_params(steps=10, save_every=5, test_every=5, device=setup.device, keep_best=2)
    config = compose_config(inputs, train, setup.engine(), _LOCAL_RAY)
    run, seen = RunDirectory(setup.folder / "run"), dict[int, float]()
    started = time.monotonic()

    def on_step(step: int, _: Mapping[str, float]) -> None:
        seen[step] = time.monotonic() - started
        if step == 6 and run.attempts() == 1:
            raise _StopError

    with suppress(_StopError):
        run_training(config, train, setup.engine(), _LOCAL_RAY, run, on_step)
    first, seconds = seen[1], (seen[5] - seen[1]) / 4
    run_training(config, train, setup.engine(), _LOCAL_RAY, run, on_step)
    saved = run.publish(setup.folder / "checkpoints")
    collect_checkpoints(setup.folder / "checkpoints", saved, setup.folder / "collected")
    merge_checkpoints([setup.folder / "collected" / f"global_step_{step}" for step in saved], setup.folder / "merged")
    prompt = [TokenPrompt("0", list(range(3, 30)), {"temperature": 0, "max_tokens": 8})]
    (answer,) = generate(prompt, setup.folder / "merged", setup.engine(), _LOCAL_RAY, **_ONE_ENGINE)
    return {
        "first step after s": first,
        "step s": seconds,
        "attempts": run.attempts(),
        "checkpoints": saved,
        "tokens of the merged ranker": answer.response_tokens,
    }


def measure_embedding(setup: Setup) -> dict[str, Any]:
    """Texts per second."""
    from memsifter.params import EmbedParams
    from memsifter.retrieval.encoder import Encoder

    if setup.embedder is None:
        return {"skipped": "give --embedder"}
    params = EmbedParams(batch_size=32, gpus_per_worker=float(setup.device == "cuda"))
    encoder = Encoder(str(setup.embedder), params, 256)
    texts = [f"session {index}: " + "they talked about food and work " * 20 for index in range(setup.prompts)]
    encoder.encode(texts[:8])
    started = time.monotonic()
    encoder.encode(texts)
    return {"texts/s": len(texts) / (time.monotonic() - started)}


STEPS: dict[str, Callable[[Setup], dict[str, Any]]] = {
    "engine": measure_engine,
    "attention": measure_attention,
    "train": measure_training,
    "embed": measure_embedding,
}

if __name__ == "__main__":
    main()

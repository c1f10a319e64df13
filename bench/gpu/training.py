"""The steps that train: attention of a random model, a run that is stopped and resumed, and memory against the plan."""

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bench.gpu.setup import GIB, LOCAL_RAY, Setup
from memsifter.io.paths import ROOT

sys.path.insert(0, str(ROOT / "tests"))
_RESPONSE_TOKENS = 32
# verl starts eight agent workers; one is enough here.
_FEWER_PROCESSES = ("actor_rollout_ref.rollout.agent.num_workers=1",)


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
    rows = {
        "warm-up": [(ids, place)],
        "one at a time": [(ids, place)] * 2,
        "packed": [(torch.cat([ids, ids], 1), torch.cat([place, place], 1))],
    }
    for name, passes in rows.items():
        # Gradients stay, so that what a pass adds is its activations.
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
            figures[f"{name} peak GiB"] = (torch.cuda.max_memory_allocated() - held) / GIB
        figures[f"{name} s"] = time.monotonic() - started
    size = dtype.itemsize
    activations = shape.block_bytes(size) + 2 * size * (shape.intermediate + shape.hidden)
    figures = {name: value for name, value in figures.items() if not name.startswith("warm-up")}
    return figures | {
        "planned peak GiB, one at a time": length * (activations + shape.layers * shape.hidden * size) / GIB
    }


class _StopError(Exception):
    pass


def measure_training(setup: Setup) -> dict[str, Any]:
    """Seconds to the first step and per step of a tiny model, and what a run leaves that was stopped and went on."""
    from training_inputs import ENGINE, train_params, write_inputs

    from memsifter.checkpoints.collect import collect_checkpoints
    from memsifter.checkpoints.merge import merge_checkpoints
    from memsifter.params import EngineParams
    from memsifter.ranking.engine import TokenPrompt, generate
    from memsifter.training.launch import run_training
    from memsifter.training.run_directory import RunDirectory
    from memsifter.training.verl.config import compose_config

    engine = EngineParams.model_validate(ENGINE.model_dump() | {"device": setup.device, "dtype": setup.dtype})
    inputs = write_inputs(setup.folder / "inputs")
    train = train_params(
        steps=10, save_every=5, test_every=5, device=setup.device, keep_best=2, overrides=_FEWER_PROCESSES
    )
    config = compose_config(inputs, train, engine, LOCAL_RAY)
    run, seen = RunDirectory(setup.folder / "run"), dict[int, float]()
    started = time.monotonic()

    def on_step(step: int, _: Mapping[str, float]) -> None:
        seen[step] = time.monotonic() - started
        if step == 6 and run.attempts() == 1:
            raise _StopError

    with suppress(_StopError):
        run_training(config, train, engine, LOCAL_RAY, run, on_step)
    first, seconds = seen[1], (seen[4] - seen[1]) / 3  # the fifth is saved and tested as well
    run_training(config, train, engine, LOCAL_RAY, run, on_step)
    saved = run.publish(setup.folder / "checkpoints")
    collect_checkpoints(setup.folder / "checkpoints", saved, setup.folder / "collected")
    merge_checkpoints([setup.folder / "collected" / f"global_step_{step}" for step in saved], setup.folder / "merged")
    prompt = [TokenPrompt("0", list(range(3, 30)), {"temperature": 0, "max_tokens": 8})]
    merged = setup.folder / "merged"
    (answer,) = generate(prompt, merged, engine, LOCAL_RAY, concurrency=1, batch_size=1, seed=0)
    return {
        "first step after s": first,
        "step s": seconds,
        "attempts": run.attempts(),
        "checkpoints": saved,
        "tokens of the merged ranker": answer.response_tokens,
    }


def measure_memory(setup: Setup) -> dict[str, Any]:
    """Two steps of a model of `shape` on prompts of `prompt_tokens`: the trainer's peak against `memsifter plan`."""
    from training_inputs import train_params, write_inputs
    from transformers import AutoTokenizer

    from memsifter.params.load import load_params
    from memsifter.training.launch import run_training
    from memsifter.training.memory import read_shape
    from memsifter.training.plan import plan_memory
    from memsifter.training.run_directory import RunDirectory
    from memsifter.training.verl.config import compose_config

    prompt_tokens, longest = setup.prompt_tokens, setup.prompt_tokens + _RESPONSE_TOKENS
    model = setup.write_model(longest)
    word = "city "
    words = (prompt_tokens - 32) * 100 // len(AutoTokenizer.from_pretrained(model)(word * 100)["input_ids"])
    inputs = replace(
        write_inputs(setup.folder / "long_inputs", filler=word * words),
        model=model,
        prompt_tokens=prompt_tokens,
        response_tokens=_RESPONSE_TOKENS,
    )
    train = train_params(
        steps=2,
        save_every=2,
        test_every=2,
        device=setup.device,
        micro_batch_tokens=longest,
        rollout_memory=0.4,
        overrides=_FEWER_PROCESSES,
    )
    config = compose_config(inputs, train, setup.engine(longest), LOCAL_RAY)
    metrics: dict[str, float] = {}
    run = RunDirectory(setup.folder / "long_run")
    run_training(config, train, setup.engine(longest), LOCAL_RAY, run, lambda _, values: metrics.update(values))
    params = load_params()
    rank = params.rank.model_copy(update={"context_tokens": prompt_tokens, "max_tokens": _RESPONSE_TOKENS})
    plan = plan_memory(params.model_copy(update={"train": train, "rank": rank}), read_shape(setup.shape), 80 * GIB)
    others = ("CUDA", "processes", "rollout")
    trainer = [part for part in plan.parts if "update" in part.phases and part.name not in others]
    planned = sum(part.bytes for part in trainer) / GIB
    figures: dict[str, Any] = {"planned GiB of the trainer": planned}
    figures |= {part.name: part.bytes / GIB for part in trainer}
    of_verl = {name: value for name, value in metrics.items() if "memory" in name or name.startswith("timing_s/")}
    return figures | of_verl

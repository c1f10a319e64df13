"""What validation of the parameters alone cannot see: model references, prompt files, verl's overrides, GPUs.

`make repro` runs all of it before the first stage, so that what can be known at once does not fail after hours.
"""

import os
import re
from collections.abc import Collection
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.params import Params

_ON_GPUS = ("embed", "fit_likelihood", "likelihood", "rank", "chat", "train")
_WITHOUT_RAY = ("fit_likelihood", "chat")  # on this machine, whatever cluster the others run on
_PLACEHOLDER = re.compile(r"\{[a-z0-9_]+\}")
# Bare metal and containers; Windows' Linux; Jetson.
_GPU_FILES = ("nvidia[0-9]*", "dxg", "nvhost-gpu")


def check_files(params: Params) -> None:
    """Model references and overrides of verl can be read; prompt files are there and right and fit their budgets.

    Raises:
        MemSifterError: naming the parameter.
    """
    # Imported here: a stage whose parameters are wrong says so at once.
    from memsifter.chat.prompt import load_chat_prompt, load_judge_prompt
    from memsifter.likelihood.prompt import load_likelihood_prompt
    from memsifter.llm.prompts import prompt_path
    from memsifter.models.references import parse_reference
    from memsifter.ranking.prompt import load_ranker_prompt

    for model in params.models.values():
        parse_reference(model.ref)
    for kind in ("chat", "deep_research"):
        ranker = load_ranker_prompt(prompt_path(getattr(params.rank.prompts, kind)))
        _check_budget("rank", params.rank.context_tokens, f"{ranker.system} {ranker.user}")
        answering = load_chat_prompt(prompt_path(getattr(params.chat.prompts, kind)))
        _check_budget("chat", params.chat.context_tokens, f"{answering.system} {answering.user}")
    if params.retrieval.likelihood.datasets:
        load_likelihood_prompt(prompt_path(params.retrieval.likelihood.prompt))
    if params.evaluate.judge or params.reward.judge:
        load_judge_prompt(prompt_path("judge"))
    _check_overrides(params.train.overrides)


def _check_budget(section: str, context_tokens: int, template: str) -> None:
    """A token is at most a word, so a prompt of more words than tokens does not fit, whatever the tokenizer is."""
    words = len(_PLACEHOLDER.sub(" ", template).split())
    if words >= context_tokens:
        raise MemSifterError(
            f"params.yaml: {section}.context_tokens is {context_tokens}, but the prompt alone, without sessions and "
            f"question, has {words} words; raise it"
        )


def _check_overrides(overrides: Collection[str]) -> None:
    if not overrides:
        return
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:
            raise MemSifterError(
                f"params.yaml: train.overrides: {text[:200]!r} is not an override as Hydra writes them (key=value)"
            ) from error
        if override.is_delete() or override.is_sweep_override():
            raise MemSifterError(f"params.yaml: train.overrides: {text!r}: only key=value and +key=value are supported")


def check_devices(params: Params, stages: Collection[str] = _ON_GPUS) -> None:
    """A GPU is there for those of the stages that need one on this machine.

    Raises:
        MemSifterError: it is not; names the parameters that ask for it.
    """
    if params.cluster.remote:  # for the others, its GPUs count and not those of this machine
        stages = [stage for stage in _WITHOUT_RAY if stage in stages]
    likelihood = params.retrieval.likelihood
    fits = [name for name, fit in likelihood.fits.items() if fit.device == "cuda"]
    wanted = {
        "embed": ("embed.gpus_per_worker", params.embed.gpus_per_worker > 0),
        "fit_likelihood": (f"retrieval.likelihood.fits.{'/'.join(fits)}.device", bool(fits)),
        "likelihood": (
            "retrieval.likelihood.gpus_per_worker",
            bool(likelihood.datasets) and likelihood.gpus_per_worker > 0,
        ),
        "rank": ("rank.engine.device", params.rank.engine.device == "cuda"),
        "chat": ("chat.engine.device", params.chat.engine.device == "cuda" and params.chat.base_url == "local"),
        "train": ("train.device", params.train.device == "cuda" and params.rounds and not params.cluster.job_server),
    }
    needing = [key for stage, (key, is_wanted) in wanted.items() if is_wanted and stage in stages]
    if needing and not has_gpu():
        ray = "" if params.cluster.remote else "name a Ray that has one (cluster.address), "
        raise MemSifterError(
            f"{', '.join(needing)} of params.yaml ask for a GPU, and this machine shows none; compose for this machine "
            f"(make params PROFILE=local), {ray}or take the outs from a remote (make repro DVC_ARGS=--pull)"
        )
    trains = "train" in stages and params.rounds and not params.cluster.job_server and params.train.device == "cuda"
    if trains:
        from memsifter.training.verl.attention import choose_attention

        choose_attention(params.train)
    visible = count_gpus()
    if trains and params.train.nnodes == 1 and visible is not None and visible < params.train.gpus_per_node:
        raise MemSifterError(
            f"params.yaml: train.gpus_per_node is {params.train.gpus_per_node}, but this machine shows {visible} "
            "GPU(s) (CUDA_VISIBLE_DEVICES hides those that it does not name); Ray would wait for the others for ever"
        )


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether the machine shows a GPU. CUDA is not used for it: it must not be started before a process forks."""
    return count_gpus(devices) != 0


def count_gpus(devices: Path = Path("/dev")) -> int | None:
    """How many GPUs the machine shows, without those that CUDA_VISIBLE_DEVICES hides; None: some, in unknown number."""
    counted, *uncounted = ([*devices.glob(pattern)] for pattern in _GPU_FILES)
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = None if named is None else 0 if named in ("", "-1") else len(named.split(","))
    if counted:
        return len(counted) if visible is None else min(visible, len(counted))
    return visible if any(uncounted) else 0

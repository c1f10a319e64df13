"""One training round as the pipeline runs it: its inputs, its working LLM, the warm start, reinforcement learning."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from memsifter.chat.server import serve_working_llm
from memsifter.errors import MemSifterError
from memsifter.io.paths import cache_directory, model_directory, rl_directory
from memsifter.llm.runtime import heed_variables
from memsifter.params import ChatParams, Params, WarmStartParams
from memsifter.reward.settings import RewardSettings, settings_of
from memsifter.training.fingerprint import fingerprint_training
from memsifter.training.launch import run_training
from memsifter.training.plan import check_memory
from memsifter.training.run_directory import RunDirectory
from memsifter.training.trainer import OnStep, training_lock
from memsifter.training.verl.config import TrainingInputs, compose_config
from memsifter.training.warm_start import WarmStartInputs, warm_start

logger = logging.getLogger(__name__)

# Settings of the client that do not change answers: a local working LLM has a new address each time.
_CONNECTION = {
    "base_url",
    "api_key_env",
    "concurrency",
    "timeout_s",
    "deadline_s",
    "max_retries",
    "length_parameter",
    "on_refusal",
    "cache",
}
_NAME_DIGITS = 16


def train_round(params: Params, round_name: str, on_step: OnStep) -> RunDirectory:
    """Train a round, or continue an interrupted run of the same inputs, parameters and code.

    Args:
        params: all parameters.
        round_name: a key of `rounds`.
        on_step: called for every step when it ends; metrics of the warm start are named `warm_start/…`. An exception
            from it stops training.

    Returns:
        The folder with the checkpoints; the last step's is among them.

    Raises:
        MemSifterError: data or model are missing, or training failed; what was trained so far is kept.
    """
    heed_variables(params.cluster)
    settings = settings_of(params, round_name, params.chat.base_url)
    inputs = _find_inputs(params, round_name)
    warm = params.rounds[round_name].warm_start
    run = RunDirectory(cache_directory("train") / _name_run(inputs, settings, warm, params))
    # For the warm start and the working LLM too, which would keep memory that the training before needs.
    with nullcontext() if run.is_complete(params.train.steps) else training_lock(params.cluster):
        complete = run.is_complete(params.train.steps)  # again: another process may have trained it meanwhile
        if not complete:
            check_memory(params, round_name)
        if warm and not complete:
            inputs = replace(inputs, model=_warm_start(inputs, settings, warm, params, run, on_step))
        needs_llm = settings.alpha > 0 and not complete
        serving = (
            serve_working_llm(_chat_beside_rollout(params), params.seed)
            if needs_llm
            else nullcontext(settings.working_llm.base_url)
        )
        with serving as base_url:
            served = settings.model_copy(
                update={"working_llm": settings.working_llm.model_copy(update={"base_url": base_url})}
            )
            config = _compose(replace(inputs, reward_settings=served.model_dump_json()), params)
            run_training(config, params.train, params.rank.engine, params.cluster, run, on_step)
    return run


def _chat_beside_rollout(params: Params) -> ChatParams:
    """The working LLM with the share of the GPU that it has during training."""
    engine = params.chat.engine.model_copy(update={"gpu_memory_utilization": params.train.working_llm_memory})
    return params.chat.model_copy(update={"engine": engine})


def _find_inputs(params: Params, round_name: str) -> TrainingInputs:
    """The start model and the RL data; the reward's settings are filled in later."""
    directory = rl_directory(round_name)
    shards = sorted(directory.glob("train_*.parquet"), key=lambda path: int(path.stem.removeprefix("train_")))
    test_file = directory / "test.parquet"
    if not shards or not test_file.is_file():
        raise MemSifterError(f"{directory}: no RL data; run `dvc repro prepare_rl@{round_name}`")
    this = params.rounds[round_name]
    model = model_directory(this.start_from)
    if not (model / "config.json").is_file():
        raise MemSifterError(f"{model}: no model; run the stage that writes it (dvc repro)")
    return TrainingInputs(
        model=model,
        train_files=tuple(shards),
        test_file=test_file,
        prompt_tokens=params.rank.context_tokens,
        response_tokens=params.rank.max_tokens,
        reward_settings="",
        seed=params.seed,
        reward_weights=(this.alpha, this.beta),
    )


def _name_run(inputs: TrainingInputs, settings: RewardSettings, warm: WarmStartParams | None, params: Params) -> str:
    """The name of the run's folder: equal for two runs only if they learn the same."""
    reward = settings.model_dump(
        mode="json", exclude={"working_llm": _CONNECTION, "judge": _CONNECTION, "reward": {"judge": _CONNECTION}}
    )
    start = {"reward": reward, "warm_start": warm.model_dump(mode="json") if warm else None}
    return fingerprint_training(_compose(inputs, params), inputs, start)[:_NAME_DIGITS]


def _compose(inputs: TrainingInputs, params: Params) -> DictConfig:
    return compose_config(inputs, params.train, params.rank.engine, params.cluster)


def _warm_start(
    inputs: TrainingInputs,
    settings: RewardSettings,
    warm: WarmStartParams,
    params: Params,
    run: RunDirectory,
    on_step: OnStep,
) -> Path:
    """The model that training starts from."""

    def on_warm_step(step: int, metrics: Mapping[str, float]) -> None:
        on_step(step, {f"warm_start/{name}": value for name, value in metrics.items()})

    examples = WarmStartInputs(
        model=inputs.model,
        train_files=inputs.train_files,
        first_number=settings.first_number,
        opened_thought=settings.opened_thought,
        max_tokens=inputs.prompt_tokens + inputs.response_tokens,
        seed=params.seed,
    )
    directory = run.path / "warm_start"
    return warm_start(examples, warm, params.train, params.rank.engine, params.cluster, directory, on_warm_step)

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from training_inputs import ENGINE, LOCAL, train_params, write_inputs

from memsifter.errors import MemSifterError
from memsifter.params import ClusterParams, compose
from memsifter.training.verl.config import TrainingInputs, compose_config


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TrainingInputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def composed(inputs: TrainingInputs, cluster: ClusterParams = LOCAL, **changes: Any) -> DictConfig:
    return compose_config(inputs, train_params(**changes), ENGINE, cluster)


def test_the_algorithm_is_dapo(inputs: TrainingInputs) -> None:
    config = composed(inputs)
    actor = config.actor_rollout_ref.actor
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.clip_ratio_c) == (0.2, 0.28, 10.0)
    assert actor.loss_agg_mode == "token-mean"
    assert config.algorithm.adv_estimator == "grpo"
    assert (config.algorithm.use_kl_in_reward, actor.use_kl_loss) == (False, False)
    assert (config.algorithm.filter_groups.enable, config.algorithm.filter_groups.metric) == (True, "acc")
    assert config.reward.reward_manager.name == "dapo"


def test_parameters_reach_verl(inputs: TrainingInputs) -> None:
    config = composed(inputs, rollouts=6, learning_rate=2e-5, overlong_tokens=5, overlong_penalty=0.25, steps=9)
    assert config.actor_rollout_ref.rollout.n == 6
    assert config.actor_rollout_ref.actor.optim.lr == 2e-5
    assert config.reward.reward_kwargs.overlong_buffer_cfg == {
        "enable": True,
        "len": 5,
        "penalty_factor": 0.25,
        "log": False,
    }
    assert config.reward.custom_reward_function.reward_kwargs.settings == inputs.reward_settings
    assert config.trainer.total_training_steps == 9
    assert config.data.max_prompt_length + config.data.max_response_length == 96
    assert config.actor_rollout_ref.rollout.max_model_len == 96


def test_all_references_are_resolved(inputs: TrainingInputs) -> None:
    text = OmegaConf.to_yaml(composed(inputs))
    assert "${" not in text


def test_an_override_reaches_verl(inputs: TrainingInputs) -> None:
    config = composed(inputs, overrides=("actor_rollout_ref.actor.grad_clip=0.5", "data.shuffle=false"))
    assert config.actor_rollout_ref.actor.grad_clip == 0.5
    assert config.data.shuffle is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("actor_rollout_ref.actor.grad_clipp=0.5", "actor_rollout_ref.actor.grad_clipp: verl has no such key"),
        ("+trainer.colour=red", "trainer.colour: verl has no such key"),
        ("reward.reward_kwargs.max_len=3", "reward.reward_kwargs.max_len: verl has no such key"),
        ("trainer.balance_batch=false", "trainer.balance_batch: verl ignores it; use nothing: batches are balanced"),
        ("custom_reward_function.path=r.py", "custom_reward_function.path: verl ignores it; use reward.custom_rew"),
        ("reward_model.reward_manager=naive", "use reward.reward_manager.name"),
        ("algorithm.filter_groups.max_num_gen_batches=5", "use train.max_replaced_batches"),
        ("trainer.max_actor_ckpt_to_keep=5", "use train.keep_best"),
        ("critic.optim.lr=0.1", "DAPO has no critic"),
        ("actor_rollout_ref.actor.optim.lr=0.1", "actor_rollout_ref.actor.optim.lr is set from other parameters"),
        ("data={train_files: x}", "data is set from other parameters"),
        ("~trainer.balance_batch", "only key=value"),
        ("trainer.balance_batch=true,false", "only key=value"),
        ("trainer.balance_batch", "is not an override as Hydra writes them"),
    ],
)
def test_an_override_that_verl_would_ignore_is_refused(inputs: TrainingInputs, override: str, message: str) -> None:
    with pytest.raises(MemSifterError, match=r"^train\.overrides: ") as caught:
        composed(inputs, overrides=(override,))
    assert message in str(caught.value)


def test_a_key_that_only_verls_dataclass_lists_is_known(inputs: TrainingInputs) -> None:
    config = composed(inputs, overrides=("actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype=fp32",))
    assert config.actor_rollout_ref.actor.fsdp_config.mixed_precision == {"param_dtype": "fp32", "reduce_dtype": "fp32"}


def test_a_penalty_longer_than_the_response_is_refused(inputs: TrainingInputs) -> None:
    with pytest.raises(MemSifterError, match=r"train\.overlong_tokens is 33.*at most 32"):
        composed(inputs, overlong_tokens=33)


def test_a_local_ray_gets_the_resources_that_verl_waits_for(inputs: TrainingInputs) -> None:
    options = composed(inputs, gpus_per_node=2).ray_kwargs.ray_init
    assert options.address == "local"
    assert options.num_gpus == 2
    assert options.num_cpus >= 12


@pytest.mark.parametrize(
    ("where", "connected"),
    [({"address": "10.0.0.1:6379"}, "10.0.0.1:6379"), ({"job_server": "http://10.0.0.1:8265"}, "auto")],
)
def test_a_cluster_keeps_its_own_resources(inputs: TrainingInputs, where: dict[str, str], connected: str) -> None:
    cluster = LOCAL.model_copy(update=where)
    options = composed(inputs, cluster).ray_kwargs.ray_init
    assert options.address == connected
    assert options.num_cpus is None
    assert "num_gpus" not in options


def test_the_hardware_follows_the_device(inputs: TrainingInputs) -> None:
    cpu, cuda = composed(inputs), composed(inputs, device="cuda")
    assert (cpu.trainer.device, cpu.actor_rollout_ref.rollout.dtype) == ("cpu", "float32")
    assert (cuda.trainer.device, cuda.actor_rollout_ref.rollout.dtype) == ("cuda", "bfloat16")
    assert cuda.actor_rollout_ref.model.external_lib is None


@pytest.mark.parametrize("profile", ["smoke", "local", "learning", "gpu", "paper"])
def test_every_profile_gives_a_configuration_that_verl_accepts(
    profile: str, inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "PARAMS_FILE", tmp_path / "params.yaml")
    monkeypatch.setattr(compose, "RESULTS", tmp_path / "results")
    params = compose.compose([f"profile={profile}"])
    sized = replace(inputs, prompt_tokens=params.rank.context_tokens, response_tokens=params.rank.max_tokens)
    config = compose_config(sized, params.train, params.rank.engine, params.cluster)
    world_size = params.train.nnodes * params.train.gpus_per_node
    assert config.trainer.nnodes * config.trainer.n_gpus_per_node == world_size
    assert config.actor_rollout_ref.rollout.max_model_len <= params.rank.engine.max_model_len
    assert config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu >= config.actor_rollout_ref.rollout.max_model_len


def test_the_weight_buffer_holds_the_largest_tensor(inputs: TrainingInputs, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    model = tmp_path / "model"
    model.mkdir()
    save_file({"embedding": torch.zeros(40_000, 600, dtype=torch.bfloat16)}, model / "model.safetensors")
    config = composed(replace(inputs, model=model))
    buffer = config.actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes
    assert buffer * 2**20 > 40_000 * 600 * 4


def test_sizes_that_do_not_fit_are_refused() -> None:
    for changes, message in (
        ({"batch_size": 3}, "multiple of mini_batch_size"),
        ({"save_every": 3, "test_every": 2}, "multiple of test_every"),
        ({"gpus_per_node": 3}, "multiple of nnodes x gpus_per_node"),
        ({"tensor_parallel_size": 2}, "multiple of tensor_parallel_size"),
    ):
        with pytest.raises(ValueError, match=message):
            train_params(**changes)

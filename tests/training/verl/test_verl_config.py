import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from training_inputs import ENGINE, LOCAL, train_params, write_inputs

from memsifter.errors import MemSifterError
from memsifter.params import ClusterParams, compose
from memsifter.training.verl import attention
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
        ("actor_rollout_ref.model.lora_rank=16", "trains an adapter, which stage collect cannot make a model of"),
    ],
)
def test_an_override_that_would_change_nothing_or_spoil_the_round_is_refused(
    inputs: TrainingInputs, override: str, message: str
) -> None:
    with pytest.raises(MemSifterError, match=r"^train\.overrides: ") as caught:
        composed(inputs, overrides=(override,))
    assert message in str(caught.value)


def test_a_key_that_only_verls_dataclass_lists_is_known(inputs: TrainingInputs) -> None:
    config = composed(inputs, overrides=("actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype=fp32",))
    assert config.actor_rollout_ref.actor.fsdp_config.mixed_precision == {"param_dtype": "fp32", "reduce_dtype": "fp32"}


def test_a_penalty_longer_than_the_response_is_refused(inputs: TrainingInputs) -> None:
    with pytest.raises(MemSifterError, match=r"train\.overlong_tokens is 33.*at most 32"):
        composed(inputs, overlong_tokens=33)


@pytest.mark.parametrize("address", [None, "local"])
def test_a_local_ray_gets_the_resources_that_verl_waits_for(inputs: TrainingInputs, address: str | None) -> None:
    options = composed(inputs, LOCAL.model_copy(update={"address": address}), gpus_per_node=2).ray_kwargs.ray_init
    assert options.address == "local"
    assert options.num_gpus == 2
    assert options.num_cpus >= 12


@pytest.mark.parametrize(("device", "units"), [("cpu", 1), ("cuda", 8)])
def test_a_small_machine_waits_for_no_core_that_it_lacks(
    inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch, device: str, units: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    config = composed(inputs, device=device)
    assert config.transfer_queue.backend.SimpleStorage.num_data_storage_units == units
    # A core each for those, their controller and verl's runner; three for a GPU's trainer and one for its rollout.
    assert config.ray_kwargs.ray_init.num_cpus >= units + 1 + 1 + 3 + 1 + config.reward.num_workers


def test_cores_are_counted_for_what_the_user_overrides(inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    override = "transfer_queue.backend.SimpleStorage.num_data_storage_units=16"
    assert composed(inputs, overrides=(override,)).ray_kwargs.ray_init.num_cpus >= 16 + 1 + 1 + 3 + 1


def test_a_gpu_reads_long_prompts_in_parts_and_a_cpu_at_once(inputs: TrainingInputs) -> None:
    long = replace(inputs, prompt_tokens=4096)
    tokens = [composed(long, device=device).actor_rollout_ref.rollout for device in ("cpu", "cuda")]
    assert [rollout.max_num_batched_tokens for rollout in tokens] == [4096 + inputs.response_tokens, 512]
    assert [rollout.enable_chunked_prefill for rollout in tokens] == [False, True]


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
    assert cpu.actor_rollout_ref.actor.optim.override_optimizer_config == {"fused": True}
    assert (cuda.trainer.device, cuda.actor_rollout_ref.rollout.dtype) == ("cuda", "bfloat16")
    assert cuda.actor_rollout_ref.model.external_lib is None
    assert cpu.actor_rollout_ref.rollout.engine_kwargs.vllm.kv_cache_memory_bytes == 1 << 30
    assert "kv_cache_memory_bytes" not in (cuda.actor_rollout_ref.rollout.engine_kwargs.get("vllm") or {})


def install_flash_attention(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """Let the package be found, or not, without having it."""
    monkeypatch.setattr(attention, "has_flash_attention", lambda: installed)


def validate(config: DictConfig) -> None:
    """What verl itself checks before it trains."""
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    validate_config(config, use_reference_policy=False, use_critic=False)
    omega_conf_to_dataclass(config.algorithm)
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout)


def test_without_flash_attention_a_gpu_sees_one_sequence_at_a_time(
    inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_flash_attention(monkeypatch, False)
    config = composed(inputs, device="cuda")
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert config.actor_rollout_ref.model.override_config.attn_implementation == "sdpa"
    assert (actor.use_dynamic_bsz, actor.ppo_micro_batch_size_per_gpu) == (False, 1)
    assert (rollout.log_prob_use_dynamic_bsz, rollout.log_prob_micro_batch_size_per_gpu) == (False, 1)
    assert config.actor_rollout_ref.model.use_remove_padding  # no padding, so no mask either
    validate(config)


def test_with_flash_attention_sequences_are_packed_and_may_be_split(
    inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_flash_attention(monkeypatch, True)
    config = composed(inputs, device="cuda", gpus_per_node=4, ulysses=2, micro_batch_tokens=16)
    actor = config.actor_rollout_ref.actor
    assert config.actor_rollout_ref.model.override_config.attn_implementation == "flash_attention_2"
    assert (actor.use_dynamic_bsz, config.actor_rollout_ref.rollout.log_prob_use_dynamic_bsz) == (True, True)
    assert actor.fsdp_config.ulysses_sequence_parallel_size == 2
    assert actor.ppo_max_token_len_per_gpu == 96 / 2
    validate(config)
    assert composed(inputs).actor_rollout_ref.model.override_config.attn_implementation == "sdpa"


def test_a_sequence_is_not_split_without_flash_attention(
    inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_flash_attention(monkeypatch, False)
    with pytest.raises(MemSifterError, match=r"train\.ulysses is 2, but without the package flash-attn"):
        composed(inputs, device="cuda", gpus_per_node=2, ulysses=2)
    with pytest.raises(MemSifterError, match="attention is flash_attention_2, but the package flash-attn is not"):
        composed(inputs, device="cuda", attention="flash_attention_2")
    for changes in ({"attention": "sdpa"}, {"device": "cpu"}):
        with pytest.raises(ValueError, match="only flash_attention_2, on GPUs, can split a sequence"):
            train_params(**({"device": "cuda", "gpus_per_node": 2, "ulysses": 2} | changes))
    with pytest.raises(ValueError, match="flash_attention_2 runs on GPUs only"):
        train_params(attention="flash_attention_2")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("loss", ["vanilla", "gspo", "cispo"])
@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "rloo", "gdpo"])
def test_verl_accepts_every_switch(advantage: str, loss: str, device: str, inputs: TrainingInputs) -> None:
    sampled = {"importance_weights": "token", "test_responses": 4, "test_temperature": 0.7}
    switches = {"advantage": advantage, "loss": loss, "device": device, "attention": "sdpa"}
    config = compose_config(inputs, train_params(**sampled, **switches), ENGINE, LOCAL)
    validate(config)
    actor = config.actor_rollout_ref.actor
    assert actor.policy_loss.loss_mode == loss
    assert config.algorithm.adv_estimator == {"rloo": "rloo", "gdpo": "memsifter_gdpo"}.get(advantage, "grpo")
    assert config.algorithm.norm_adv_by_std_in_grpo == (advantage != "dr_grpo")
    assert (actor.loss_agg_mode == "seq-mean-token-sum-norm") == (advantage == "dr_grpo")
    correction = config.algorithm.rollout_correction
    assert (correction.bypass_mode, correction.rollout_is, correction.rollout_is_threshold) == (False, "token", 2.0)
    validation = config.actor_rollout_ref.rollout.val_kwargs
    assert (validation.n, validation.temperature, validation.do_sample) == (4, 0.7, True)


def test_the_bounds_of_a_loss_may_be_overridden_and_the_loss_itself_not(inputs: TrainingInputs) -> None:
    config = composed(inputs, loss="gspo", overrides=("actor_rollout_ref.actor.clip_ratio_high=0.001",))
    actor = config.actor_rollout_ref.actor
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.loss_agg_mode) == (3e-4, 1e-3, "seq-mean-token-mean")
    with pytest.raises(MemSifterError, match="loss_mode is set from other parameters"):
        composed(inputs, overrides=("actor_rollout_ref.actor.policy_loss.loss_mode=gspo",))


def test_on_a_gpu_the_rollouts_probabilities_are_trained_on_unless_they_are_corrected(inputs: TrainingInputs) -> None:
    assert composed(inputs, device="cuda", attention="sdpa").algorithm.rollout_correction.bypass_mode
    assert not composed(inputs).algorithm.rollout_correction.bypass_mode


@pytest.mark.parametrize("flash_attention", [False, True])
@pytest.mark.parametrize("profile", ["smoke", "local", "learning", "gpu", "paper"])
def test_every_profile_gives_a_configuration_that_verl_accepts(
    profile: str, flash_attention: bool, inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_flash_attention(monkeypatch, flash_attention)
    monkeypatch.setattr(compose, "PARAMS_FILE", tmp_path / "params.yaml")
    monkeypatch.setattr(compose, "RESULTS", tmp_path / "results")
    params = compose.compose([f"profile={profile}"])
    sized = replace(inputs, prompt_tokens=params.rank.context_tokens, response_tokens=params.rank.max_tokens)
    if profile == "paper" and not flash_attention:
        with pytest.raises(MemSifterError, match="the package flash-attn is not installed"):
            compose_config(sized, params.train, params.rank.engine, params.cluster)
        return
    config = compose_config(sized, params.train, params.rank.engine, params.cluster)
    world_size = params.train.nnodes * params.train.gpus_per_node
    assert config.trainer.nnodes * config.trainer.n_gpus_per_node == world_size
    assert config.actor_rollout_ref.rollout.max_model_len <= params.rank.engine.max_model_len
    longest = config.actor_rollout_ref.rollout.max_model_len
    assert config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu * params.train.ulysses >= longest
    validate(config)


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
        ({"ulysses": 2, "device": "cuda"}, "must be a multiple of ulysses"),
        ({"test_responses": 2}, "at test_temperature 0 all responses to a question are the same"),
    ):
        with pytest.raises(ValueError, match=message):
            train_params(**changes)

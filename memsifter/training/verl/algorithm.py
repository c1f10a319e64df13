"""The switches of the algorithm (`train.advantage`, `train.loss`, `train.importance_weights`) as verl's settings."""

from typing import Any

from memsifter.params.training import TrainParams

GDPO = (
    "memsifter_gdpo"  # registered by memsifter.training.verl.gdpo; verl's own needs what its trainer does not give it
)


def algorithm_values(train: TrainParams, reward_weights: tuple[float, float]) -> dict[str, Any]:
    """The `algorithm` section of verl's configuration.

    Args:
        train: the switches.
        reward_weights: of the outcome part and the retrieval part, for `gdpo`.
    """
    advantages: dict[str, dict[str, Any]] = {
        "grpo": {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": True},
        # arXiv 2503.20783: without the standard deviation, which gives easy and hard questions more weight.
        "dr_grpo": {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": False},
        "rloo": {"adv_estimator": "rloo"},
        "gdpo": {"adv_estimator": GDPO, "gdpo_reward_weights": list(reward_weights)},
    }
    return {
        # Dynamic sampling: a group whose rollouts all score the same teaches nothing; others take its place.
        "filter_groups": {"enable": True, "metric": "acc"},
        **advantages[train.advantage],
        **_rollout_correction(train),
    }


def _rollout_correction(train: TrainParams) -> dict[str, Any]:
    """Weights need the trainer's own probabilities of the sampled tokens, which `bypass_mode` does without."""
    if train.importance_weights == "none":
        return {}
    correction = {
        "rollout_is": train.importance_weights,
        "rollout_is_threshold": train.importance_threshold,
        "bypass_mode": False,
    }
    return {"rollout_correction": correction}


def loss_defaults(train: TrainParams, response_tokens: int) -> dict[str, Any]:
    """Settings of verl's `actor` section that belong to an advantage or a loss; `train.overrides` may change them.

    Args:
        train: the switches.
        response_tokens: the longest response.
    """
    losses: dict[str, dict[str, Any]] = {
        "vanilla": {},
        # arXiv 2507.18071: ratios of whole sequences, which differ from 1 by far less than those of tokens.
        "gspo": {"clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4, "loss_agg_mode": "seq-mean-token-mean"},
        "cispo": {"clip_ratio_low": 10.0},  # arXiv 2506.13585: weights are bounded from above only
    }
    values = losses[train.loss]
    if train.advantage == "dr_grpo":
        # A constant in the place of each response's length, which favours long wrong responses.
        values |= {"loss_agg_mode": "seq-mean-token-sum-norm", "loss_scale_factor": response_tokens}
    return values

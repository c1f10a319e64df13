"""GDPO (arXiv 2601.05242): every part of the reward is normalised within its group before the parts are added.

GRPO normalises the sum alpha * R_ans + beta * R_ret, in which the part that varies more drowns the other. verl's own
`gdpo` asks for columns that its V1 trainer does not give to an advantage. The parts therefore travel in the rewards of
the tokens, whose sum is the response's reward: `split_rewards` puts the outcome part on the first token and the rest on
the last, where verl puts everything.
"""

from collections.abc import Sequence
from typing import Any

import torch
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, register_adv_est
from verl.utils.torch_functional import masked_whiten

from memsifter.training.verl.algorithm import GDPO

_DIGITS = 6  # what is left of a difference of float32 rewards is no difference between responses


def split_rewards(rewards: Sequence[torch.Tensor], outcome_parts: Sequence[float]) -> list[torch.Tensor]:
    """Rewards of the tokens of each response: the outcome part on the first token, the rest on the last.

    Args:
        rewards: of each response, (tokens,) float32, zero but for the last.
        outcome_parts: alpha * R_ans of each response.

    Returns:
        Tensors of the same shapes, with the same sums. A response of one token, always malformed, stays as it is.
    """
    split = []
    for tokens, part in zip(rewards, outcome_parts, strict=True):
        parts = tokens.clone()
        if len(tokens) > 1:
            parts[0], parts[-1] = round(part, _DIGITS), round(float(tokens.sum()) - part, _DIGITS)
        split.append(parts)
    return split


@register_adv_est(GDPO)  # type: ignore[untyped-decorator]
def compute_gdpo_advantage(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: Sequence[Any],
    config: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted sum of each part's advantage within its group, whitened over the batch.

    Args:
        token_level_rewards: (responses, tokens) float32, as `split_rewards` leaves them.
        response_mask: (responses, tokens), 1 on the response.
        index: (responses,) the group of each.
        config: verl's `algorithm` section; `gdpo_reward_weights` has alpha and beta.

    Returns:
        Advantages and returns, both the same (responses, tokens).
    """
    rest = token_level_rewards.clone()
    rest[:, 0] = 0
    total = torch.zeros_like(token_level_rewards)
    for weight, part in zip(config.gdpo_reward_weights, (token_level_rewards[:, :1], rest), strict=True):
        total += weight * compute_grpo_outcome_advantage(part, response_mask, index)[0]
    advantages = masked_whiten(total, response_mask) * response_mask  # type: ignore[no-untyped-call]
    return advantages, advantages

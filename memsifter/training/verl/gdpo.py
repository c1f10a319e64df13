"""GDPO (arXiv 2601.05242): every part of the reward is normalised within its group before the parts are added.

GRPO normalises the sum alpha * R_ans + beta * R_ret, in which the part that varies more drowns the other. verl's own
`gdpo` asks for columns that its V1 trainer does not give to an advantage. The parts therefore travel in the rewards of
the tokens, whose sum is the response's reward: `split_rewards` puts the outcome part on the first token, the penalty of
a long response on the second, and the retrieval part on the last, where verl puts everything.
"""

from collections.abc import Sequence
from typing import Any

import torch
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, register_adv_est
from verl.utils.torch_functional import masked_whiten

from memsifter.training.verl.algorithm import GDPO

_PENALTY = 1  # the token that has it, in responses that are longer
_DIGITS = 6  # what is left of a difference of float32 rewards is no difference between responses


def split_rewards(
    rewards: Sequence[torch.Tensor], outcome_parts: Sequence[float], scores: Sequence[float]
) -> list[torch.Tensor]:
    """Rewards of the tokens of each response: outcome part, penalty and retrieval part each on a token of its own.

    Args:
        rewards: of each response, (tokens,) float32, zero but for the last.
        outcome_parts: alpha * R_ans of each response.
        scores: alpha * R_ans + beta * R_ret of each response; a reward below it has a penalty.

    Returns:
        Tensors of the same shapes, with the same sums. A response of one or two tokens, always malformed, has no token
        for the penalty: it stays with the last.
    """
    split = []
    for tokens, part, score in zip(rewards, outcome_parts, scores, strict=True):
        parts = tokens.clone()
        penalty = float(tokens.sum()) - score if len(tokens) > _PENALTY + 1 else 0.0
        if len(tokens) > 1:
            parts[-1] = round(float(tokens.sum()) - penalty - part, _DIGITS)
            parts[0] = round(part, _DIGITS)
        if len(tokens) > _PENALTY + 1:
            parts[_PENALTY] = round(penalty, _DIGITS)
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

    A penalty counts whatever the weights, and as much as it is: less its group's mean, in no standard deviations, which
    would make the least one the same as the greatest.

    Args:
        token_level_rewards: (responses, tokens) float32, as `split_rewards` leaves them.
        response_mask: (responses, tokens), 1 on the response.
        index: (responses,) the group of each.
        config: verl's `algorithm` section; `gdpo_reward_weights` has alpha and beta.

    Returns:
        Advantages and returns, both the same (responses, tokens).
    """
    outcome, retrieval = token_level_rewards[:, :1], token_level_rewards.clone()
    has_penalty = response_mask.sum(dim=-1) > _PENALTY + 1
    penalty = torch.zeros_like(token_level_rewards)
    penalty[has_penalty, _PENALTY] = token_level_rewards[has_penalty, _PENALTY]
    retrieval[:, 0] = 0
    retrieval -= penalty
    total = compute_grpo_outcome_advantage(penalty, response_mask, index, norm_adv_by_std_in_grpo=False)[0]
    for weight, part in zip(config.gdpo_reward_weights, (outcome, retrieval), strict=True):
        total = total + weight * compute_grpo_outcome_advantage(part, response_mask, index)[0]
    advantages = masked_whiten(total, response_mask) * response_mask  # type: ignore[no-untyped-call]
    return advantages, advantages

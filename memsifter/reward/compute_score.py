"""The reward function that verl calls, once for every finished rollout.

verl imports this module by name (`reward.custom_reward_function`). Everything that the reward needs travels in the
row's `extra_info` (`memsifter.reward.sample`) and in one text of settings (`memsifter.reward.settings`).
"""

from collections.abc import Mapping
from typing import Any

from memsifter.chat.shared_client import answer_shared
from memsifter.errors import MemSifterError
from memsifter.reward.rollout import score_rollout
from memsifter.reward.sample import read_sample
from memsifter.reward.settings import read_settings


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any],
    *,
    settings: str,
) -> dict[str, float]:
    """Compute the reward of one rollout.

    Args:
        data_source: the dataset.
        solution_str: the ranker's output.
        ground_truth: the reference answer.
        extra_info: the row's sample.
        settings: `RewardSettings` as JSON.

    Returns:
        `score` and `acc`, both the reward: verl trains on `score` and filters groups by `acc`, and uses the name
        `reward` for the score with the overlong penalty. Then the components of `RolloutReward`. The keys depend on K
        alone.

    Raises:
        MemSifterError: a row that does not fit, or a working LLM that gave no answer: training then stops and resumes
            from its last checkpoint. It never learns from a reward that was not measured.
    """
    config = read_settings(settings)
    sample = read_sample(extra_info)
    if sample.answer != ground_truth or sample.dataset != data_source:
        raise MemSifterError(
            f"question {sample.question_id!r}: reward_model or data_source of the row contradicts its extra_info; "
            "write the RL data anew (dvc repro prepare_rl)"
        )

    scored = await score_rollout(solution_str, sample, config, answer_shared)
    return {"score": scored.reward, "acc": scored.reward, **scored.components()}

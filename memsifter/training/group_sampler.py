"""verl's sampler of finished groups, with what DAPO needs and verl's own leaves out.

verl plugs it in through `trainer.v1.sampler.custom_sampler`. It differs from verl's in three ways: a question whose
reward could not be computed stops the run, where verl would train on the group's remaining responses; a step that
keeps replacing groups stops the run, where verl would go on for ever; and the reward's components of the responses
that are trained on become metrics, which verl logs for validation only.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

import transfer_queue  # type: ignore[import-untyped]
from omegaconf import DictConfig
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer


class GroupSampler(ReplayBuffer):
    """Groups for the synchronous trainer.

    Args:
        sampler_kwargs: `metric` (what must differ within a group), `batch_size` (groups per step) and
            `max_replaced_groups` (per step).
        kwargs: what verl passes to every sampler.
    """

    def __init__(self, *, sampler_kwargs: DictConfig, **kwargs: Any) -> None:
        super().__init__(
            sampler_kwargs=sampler_kwargs,
            filter_groups_metric=sampler_kwargs["metric"],
            train_batch_size=sampler_kwargs["batch_size"],
            gen_batch_size=1,
            **kwargs,
        )
        self._max_replaced = int(sampler_kwargs["max_replaced_groups"])
        self._replaced = 0

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        """Wait for a batch of groups.

        Returns:
            The batch, and metrics: how many groups were replaced, `reward/<component>/mean` of those kept.

        Raises:
            RuntimeError: a reward failed, or too many groups were replaced.
        """
        self._replaced = 0
        batch, metrics = super().sample(global_steps=global_steps, partition_id=partition_id, batch_size=batch_size)
        if partition_id == "train":
            data = transfer_queue.kv_batch_get(
                keys=batch.keys, partition_id=partition_id, select_fields=["extra_fields"]
            )
            metrics |= average_components(getattr(value, "data", value) for value in data["extra_fields"])
            metrics["training/filter_groups/replaced_groups"] = self._replaced
        return batch, metrics

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> tuple[Any, Any, Any, Any]:
        if self.failure_keys[partition_id]:
            raise RuntimeError(
                f"{len(self.failure_keys[partition_id])} question(s) failed in step {global_steps}; the error of each "
                "is above, at 'Error in _run_prompt'"
            )
        reasons: tuple[Any, Any, Any, Any] = super()._terminal_eviction_reasons(global_steps, partition_id)
        self._replaced += len(reasons[1])
        if self._replaced > self._max_replaced:
            raise RuntimeError(
                f"step {global_steps}: {self._replaced} questions were replaced because all responses to each scored "
                f"the same {self.filter_groups_metric}, so there is nothing to learn from: use harder or easier "
                "questions, a higher train.temperature or more train.rollouts, or raise train.max_replaced_batches"
            )
        return reasons


def average_components(extra_fields: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of every component of the reward over responses, as `reward/<component>/mean`."""
    values: dict[str, list[float]] = defaultdict(list)
    for fields in extra_fields:
        for name, value in fields["reward_extra_info"].items():
            values[name].append(float(value))
    return {f"reward/{name}/mean": fmean(found) for name, found in values.items()}

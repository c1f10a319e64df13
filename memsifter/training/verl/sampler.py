"""verl's sampler of finished groups, with what DAPO needs and verl's own leaves out.

verl plugs it in through `trainer.v1.sampler.custom_sampler`. It differs from verl's in five ways: a question whose
reward could not be computed stops the run, where verl would train on the group's remaining responses; a question that
the working LLM refuses for one of its responses (`chat.on_refusal: leave_out`) is replaced by another; a step that
keeps replacing groups stops the run, where verl would go on for ever; which groups are taken, and in which order,
depends on what they hold and not on which response came first; and the reward's components of the responses that are
trained on become metrics, which verl logs for validation only.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from statistics import fmean
from typing import Any

import torch
import transfer_queue  # type: ignore[import-untyped]
from omegaconf import DictConfig
from tensordict import TensorDict  # type: ignore[import-untyped]
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from memsifter.io.files import sha256_json
from memsifter.training.verl.gdpo import split_rewards

_POLL_SECONDS = 0.5


class GroupSampler(ReplayBuffer):
    """Groups for the synchronous trainer.

    Args:
        sampler_kwargs: `metric` (what must differ within a group), `batch_size` (groups per step),
            `max_replaced_groups` (per step), and `split_alpha`: the weight of the outcome part of the reward where the
            advantage needs the parts (`memsifter.training.verl.gdpo`), else null.
        kwargs: what verl passes to every sampler.
    """

    def __init__(self, *, sampler_kwargs: DictConfig, **kwargs: Any) -> None:
        super().__init__(
            sampler_kwargs=sampler_kwargs,
            filter_groups_metric=sampler_kwargs["metric"],
            train_batch_size=sampler_kwargs["batch_size"],
            gen_batch_size=1,
            poll_interval=_POLL_SECONDS,
            **kwargs,
        )
        self._max_replaced = int(sampler_kwargs["max_replaced_groups"])
        self._split_alpha = sampler_kwargs.get("split_alpha")
        self._replaced = 0
        self._left_out: set[str] = set()  # groups of this step that the working LLM refused
        self._places: dict[str, tuple[str, str]] = {}  # of a response in the batch, by its key

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        """Wait for a batch of groups.

        Returns:
            The batch, and metrics: how many groups were replaced, how many of them because the working LLM refused,
            `reward/<component>/mean` of those kept.

        Raises:
            RuntimeError: a reward failed, or too many groups were replaced.
        """
        self._replaced = 0
        self._left_out = set()
        batch, metrics = super().sample(global_steps=global_steps, partition_id=partition_id, batch_size=batch_size)
        if partition_id == "train":
            data = transfer_queue.kv_batch_get(
                keys=batch.keys, partition_id=partition_id, select_fields=["extra_fields"]
            )
            fields = [getattr(value, "data", value) for value in data["extra_fields"]]
            metrics |= average_components(fields)
            if self._split_alpha is not None:
                self._split_rewards(batch, fields)
            metrics["training/filter_groups/replaced_groups"] = self._replaced
            metrics["training/filter_groups/left_out_groups"] = len(self._left_out)
        return batch, metrics

    def _split_rewards(self, batch: Any, fields: Sequence[Mapping[str, Any]]) -> None:
        where = {"keys": batch.keys, "partition_id": batch.partition_id}
        rewards = list(transfer_queue.kv_batch_get(**where, select_fields=["rm_scores"])["rm_scores"].unbind())
        infos = [each["reward_extra_info"] for each in fields]
        outcome = [self._split_alpha * float(info["answer_part"]) for info in infos]
        parts = split_rewards(rewards, outcome, [float(info["score"]) for info in infos])
        split = torch.nested.as_nested_tensor(parts, layout=torch.jagged)
        transfer_queue.kv_batch_put(**where, fields=TensorDict({"rm_scores": split}, batch_size=len(rewards)))

    def _sync_metadata_from_transfer_queue(self) -> None:
        """Look only when nothing is under way, or something failed: replacements do not depend on what came first."""
        super()._sync_metadata_from_transfer_queue()  # type: ignore[no-untyped-call]
        while self._is_under_way():
            time.sleep(self.poll_interval)
            super()._sync_metadata_from_transfer_queue()  # type: ignore[no-untyped-call]

    def _is_under_way(self) -> bool:
        failed = any(self.failure_keys.values())
        return not failed and any((*self.pending_keys.values(), *self.running_keys.values()))

    def _select_prompt_uids(
        self, partition_id: str, sampleable_keys: set[str], batch_size: int
    ) -> tuple[list[str], dict[str, dict[str, Any]], dict[str, int]]:
        """As verl, but among groups of a step in an order that only their texts decide."""
        keys = [key for key in self.partitions[partition_id] if _group(key) in sampleable_keys]
        data = transfer_queue.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["prompts", "responses"])
        self._places = place_responses(
            keys, *([tokens.numpy().tobytes() for tokens in data[name].unbind()] for name in ("prompts", "responses"))
        )
        groups = {_group(key): place[0] for key, place in self._places.items()}
        snapshot, steps = dict(self.partitions[partition_id]), dict(self.prompt_global_steps[partition_id])
        ordered = sorted(sampleable_keys, key=lambda group: (steps[group], groups.get(group, "")))
        return ordered[:batch_size], snapshot, steps

    def _materialize_batch(self, *arguments: Any, **options: Any) -> Any:
        batch = super()._materialize_batch(*arguments, **options)
        batch.reorder(sorted(range(len(batch)), key=lambda index: self._places[batch.keys[index]]))
        return batch

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Any]:
        """As verl, and the groups with a response that the reward left out: they give no gradient and are replaced."""
        filtered, counts = super()._dapo_filtered_keys(partition_id)
        if partition_id == "val":
            return filtered, counts
        finished = self.finished_keys[partition_id]
        keys = [key for key in self.partitions[partition_id] if _group(key) in finished]
        if keys:
            data = transfer_queue.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["extra_fields"])
            fields = (getattr(value, "data", value) for value in data["extra_fields"])
            self._left_out |= find_left_out(keys, fields)
        return filtered | (self._left_out & finished), counts

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
                f"step {global_steps}: {self._replaced} questions were replaced (the working LLM refused "
                f"{len(self._left_out)}; all responses to each of the others scored the same "
                f"{self.filter_groups_metric}), so there is nothing to learn from: use harder or easier questions, a "
                "higher train.temperature or more train.rollouts, or raise train.max_replaced_batches"
            )
        return reasons


def place_responses(
    keys: Sequence[str], prompts: Iterable[bytes], responses: Iterable[bytes]
) -> dict[str, tuple[str, str]]:
    """Where each response stands in a batch: by a hash of its group's texts, then by one of its own.

    Args:
        keys: `<group>_<number>_<number>` as verl names responses; a group's name is another one in each run.
        prompts: token ids of each response's prompt.
        responses: token ids of each response.
    """
    texts: dict[str, set[str]] = defaultdict(set)
    own = {}
    for key, prompt, response in zip(keys, prompts, responses, strict=True):
        own[key] = sha256(response).hexdigest()
        texts[_group(key)] |= {sha256(prompt).hexdigest(), own[key]}
    groups = {group: sha256_json(sorted(found)) for group, found in texts.items()}
    return {key: (groups[_group(key)], text) for key, text in own.items()}


def find_left_out(keys: Sequence[str], extra_fields: Iterable[Mapping[str, Any]]) -> set[str]:
    """The groups that hold a response which the reward left out (`memsifter.reward.rollout.RolloutReward.left_out`)."""
    pairs = zip(keys, extra_fields, strict=True)
    return {_group(key) for key, fields in pairs if fields["reward_extra_info"].get("left_out")}


def _group(key: str) -> str:
    return key.split("_")[0]


def average_components(extra_fields: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of every component of the reward over responses, as `reward/<component>/mean`."""
    values: dict[str, list[float]] = defaultdict(list)
    for fields in extra_fields:
        for name, value in fields["reward_extra_info"].items():
            values[name].append(float(value))
    return {f"reward/{name}/mean": fmean(found) for name, found in values.items()}

"""Training itself: DAPO through verl."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, Section


class TrainParams(Section):
    """How a round trains. Prompts have at most `rank.context_tokens` tokens, responses `rank.max_tokens`.

    A step takes `batch_size` questions, `rollouts` responses each, and updates the weights once per `mini_batch_size`
    questions; `micro_batch_tokens` bounds one forward pass of one process. Of the last `overlong_tokens` tokens that a
    response may have, each costs its share of `overlong_penalty` (0 tokens: no penalty). Questions whose responses all
    score the same are replaced; a step that would replace more than `max_replaced_batches` batches stops the run, since
    nothing is left to learn from such data.

    Checkpoints are written every `save_every` steps and at the end, tested every `test_every` steps; the `keep_best` of
    them by validation reward stay, and the last. On `device: cpu`, `gpus_per_node` is the number of processes.
    A run without a finished step for `stall_minutes` is stopped. `overrides` are further settings of verl, as Hydra
    writes them: `actor_rollout_ref.actor.grad_clip=0.5`.
    """

    steps: Count
    batch_size: Count
    mini_batch_size: Count
    micro_batch_tokens: Count
    rollouts: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    temperature: Annotated[float, Field(gt=0)]
    overlong_tokens: Annotated[int, Field(ge=0)]
    overlong_penalty: Annotated[float, Field(ge=0)]
    max_replaced_batches: Count
    save_every: Count
    test_every: Count
    keep_best: Count
    device: Literal["cpu", "cuda"]
    nnodes: Count
    gpus_per_node: Count
    tensor_parallel_size: Count
    reward_workers: Count
    stall_minutes: Annotated[float, Field(gt=0)]
    overrides: tuple[str, ...]

    @property
    def world_size(self) -> int:
        """Training processes."""
        return self.nnodes * self.gpus_per_node

    @model_validator(mode="after")
    def _sizes_fit(self) -> "TrainParams":
        if self.batch_size % self.mini_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of mini_batch_size ({self.mini_batch_size})"
            )
        if self.mini_batch_size * self.rollouts % self.world_size:
            raise ValueError(
                f"mini_batch_size x rollouts ({self.mini_batch_size * self.rollouts}) must be a multiple of "
                f"nnodes x gpus_per_node ({self.world_size})"
            )
        if self.world_size % self.tensor_parallel_size:
            raise ValueError(
                f"nnodes x gpus_per_node ({self.world_size}) must be a multiple of tensor_parallel_size "
                f"({self.tensor_parallel_size})"
            )
        if self.save_every % self.test_every:
            raise ValueError(
                f"save_every ({self.save_every}) must be a multiple of test_every ({self.test_every}), so that every "
                "checkpoint has a validation reward"
            )
        return self

"""Training: the reward, the rounds, the warm start and DAPO through verl, and what becomes of the checkpoints."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.corpus.sessions import Split
from memsifter.params.base import Count, Fraction, Name, Section
from memsifter.params.llm import JudgeParams


class WarmStartParams(Section):
    """Supervised steps on gold rankings before DAPO, so that a small model knows the output format.

    A step takes `batch_size` questions. Device, processes per machine and `micro_batch_tokens` are those of `train`.
    """

    steps: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]


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


ContextOrder = Literal["ranked", "chronological"]
Metric = Literal["token_f1", "exact_match", "bleu", "rouge_l", "judge"]


class RewardParams(Section):
    """How a ranking is paid (see `memsifter.reward`).

    `max_sessions` is K, the most sessions shown to the working LLM. `context_order`: sessions of a tier as ranked, or
    in haystack order, where equal sets of sessions are equal requests. `accept_repaired`: reward a ranking that could
    be read although it breaks the format; otherwise it scores 0.
    """

    max_sessions: Count
    metric: Metric
    judge: JudgeParams | None
    context_order: ContextOrder
    accept_repaired: bool

    @model_validator(mode="after")
    def _judge_is_given(self) -> "RewardParams":
        if self.metric == "judge" and self.judge is None:
            raise ValueError("metric: judge needs judge (base_url, model, …)")
        return self


class DrawParams(Section):
    """How many questions of a dataset a round takes.

    `train` questions come from the train split. `test` questions, on which checkpoints are compared, come from
    `test_split`; from train, they are others than those trained on, and the test split stays unseen.
    """

    train: Count
    test: Annotated[int, Field(ge=0)]
    test_split: Split = "train"


class RoundParams(Section):
    """One training round.

    `start_from` is a model or an earlier round. `anchor` is the NDCG@10 of the questions that are preferred. The
    reward is `alpha` times the outcome reward plus `beta` times the retrieval reward. A train file has at most
    `shard_rows` rows. `version` null: a hash of the content. `warm_start` null: none.
    """

    start_from: Name
    recipe: Annotated[dict[Name, DrawParams], Field(min_length=1)]
    anchor: Fraction
    alpha: Annotated[float, Field(ge=0)]
    beta: Annotated[float, Field(ge=0)]
    shard_rows: Count
    version: Annotated[str, Field(min_length=1)] | None
    warm_start: WarmStartParams | None

    @model_validator(mode="after")
    def _pays_something(self) -> "RoundParams":
        if self.alpha == 0 and self.beta == 0:
            raise ValueError("alpha and beta are both 0: nothing would be paid")
        if not any(draw.test for draw in self.recipe.values()):
            raise ValueError("recipe: no dataset has test questions; checkpoints could not be compared")
        return self


class CollectParams(Section):
    """Which checkpoints of a round become models: those of `steps`, or the `best` best by validation, or the last."""

    steps: Annotated[tuple[Count, ...], Field(min_length=1)] | None
    best: Count | None

    @model_validator(mode="after")
    def _one_choice(self) -> "CollectParams":
        if self.steps is not None and self.best is not None:
            raise ValueError("give steps or best, not both")
        return self


class MergeParams(Section):
    """How collected checkpoints become one ranker. `weights` null: all count the same."""

    dtype: Literal["float32", "bfloat16", "float16"]
    weights: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] | None

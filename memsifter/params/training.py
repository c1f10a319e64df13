"""Training: the reward, the rounds, the warm start and DAPO through verl, and what becomes of the checkpoints."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.corpus.sessions import Split
from memsifter.params.base import Count, CountOrZero, Fraction, Name, Section, Weight
from memsifter.params.llm import JudgeParams

LearningRate = Annotated[float, Field(gt=0, le=1)]
ContextOrder = Literal["ranked", "chronological"]
Metric = Literal["token_f1", "exact_match", "bleu", "rouge_l", "judge"]


class WarmStartParams(Section):
    """Supervised steps on gold rankings before DAPO, so that a small model knows the output format.

    Device, processes per machine and `micro_batch_tokens` are those of `train`.
    """

    steps: Count
    """Optimiser steps."""
    batch_size: Count
    """Questions of a step; a multiple of `train.gpus_per_node`."""
    learning_rate: LearningRate
    """Step size of AdamW."""


class TrainParams(Section):
    """How a round trains (DAPO). Prompts have at most `rank.context_tokens` tokens, responses `rank.max_tokens`."""

    steps: Count = 2
    """Optimiser steps of a round."""
    batch_size: Count = 2
    """Questions of a step; a multiple of `mini_batch_size`."""
    mini_batch_size: Count = 2
    """Questions between two updates of the weights."""
    micro_batch_tokens: Count = 832
    """The most tokens of one forward pass of one process; a longer sequence has a pass of its own. Bounds memory."""
    rollouts: Annotated[int, Field(ge=2, lt=2**31)] = 4
    """Responses sampled for each question; their rewards are compared with each other."""
    learning_rate: LearningRate = 2.0e-5
    """Step size of AdamW."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Sampling temperature of the responses."""
    overlong_tokens: CountOrZero = 0
    """Tokens at the end of the longest response, each of which costs its share of `overlong_penalty`. 0: no penalty."""
    overlong_penalty: Weight = 1.0
    """Reward that a response of the greatest length loses."""
    max_replaced_batches: Count = 10
    """Questions whose responses all score the same teach nothing and are replaced. A step that would replace more
    batches than this stops the run: nothing is left to learn from such data."""
    save_every: Count = 2
    """Steps between two checkpoints, in multiples of `test_every`; the last step is saved too."""
    test_every: Count = 2
    """Steps between two validations."""
    keep_best: Count = 2
    """Checkpoints that stay, the best by validation reward; the last one always stays."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What training runs on."""
    nnodes: Count = 1
    """Machines. Above 1 needs a cluster."""
    gpus_per_node: Count = 1
    """GPUs of each machine that train; on `device: cpu`, processes."""
    tensor_parallel_size: Count = 1
    """GPUs that the ranker is split over while it generates."""
    reward_workers: Count = 1
    """Processes that compute rewards."""
    stall_minutes: Annotated[float, Field(gt=0, le=1e6)] = 30.0
    """A run in which no step ends for so many minutes is stopped."""
    overrides: tuple[str, ...] = ()
    """Further settings of verl, as Hydra writes them: `actor_rollout_ref.actor.grad_clip=0.5`."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> "TrainParams":
        processes = self.nnodes * self.gpus_per_node
        if self.batch_size % self.mini_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of mini_batch_size ({self.mini_batch_size})"
            )
        if self.mini_batch_size * self.rollouts % processes:
            raise ValueError(
                f"mini_batch_size x rollouts ({self.mini_batch_size * self.rollouts}) must be a multiple of "
                f"nnodes x gpus_per_node ({processes})"
            )
        if processes % self.tensor_parallel_size:
            raise ValueError(
                f"nnodes x gpus_per_node ({processes}) must be a multiple of tensor_parallel_size "
                f"({self.tensor_parallel_size})"
            )
        if self.save_every % self.test_every:
            raise ValueError(
                f"save_every ({self.save_every}) must be a multiple of test_every ({self.test_every}), so that every "
                "checkpoint has a validation reward"
            )
        return self


class RewardParams(Section):
    """How a ranking is scored in training (see `memsifter.reward`)."""

    max_sessions: Count = 10
    """K: the most ranked sessions that the working LLM is shown."""
    metric: Metric = "token_f1"
    """How well the working LLM's answer agrees with the reference."""
    judge: JudgeParams | None = None
    """The LLM that `metric: judge` asks. null: none."""
    context_order: ContextOrder = "chronological"
    """Order of the shown sessions: as ranked, or as in the haystack, where equal sets of sessions are equal requests
    and are sent once."""
    accept_repaired: bool = False
    """Score a ranking that could be read although it breaks the format. false: it scores 0. With true, broken outputs
    take over: a small ranker gave the format up within six steps."""

    @model_validator(mode="after")
    def _judge_is_given(self) -> "RewardParams":
        if self.metric == "judge" and self.judge is None:
            raise ValueError("metric: judge needs judge (base_url, model, …)")
        return self


class DrawParams(Section):
    """How many questions of a dataset a round takes."""

    train: Count
    """Questions trained on, from the train split."""
    test: CountOrZero
    """Questions on which checkpoints are compared."""
    test_split: Split = "train"
    """The split that `test` comes from. train: other questions than those trained on; the test split stays unseen."""


class RoundParams(Section):
    """One training round."""

    start_from: Name
    """The model or earlier round whose weights training starts from."""
    recipe: Annotated[dict[Name, DrawParams], Field(min_length=1)]
    """Questions by dataset."""
    anchor: Fraction
    """NDCG@10 of the questions that are preferred: hard, but not hopeless."""
    alpha: Weight
    """Weight of the outcome reward: how much the ranked sessions improve the working LLM's answer. 0: it gets no
    requests."""
    beta: Weight
    """Weight of the retrieval reward: DCG of the gold sessions over the ideal DCG."""
    shard_rows: Count
    """The most rows of one file of training data."""
    version: Annotated[str, Field(min_length=1)] | None
    """The training data's version in its data card. null: a hash of the content."""
    warm_start: WarmStartParams | None
    """Supervised steps before the round. null: none."""

    @model_validator(mode="after")
    def _rewards_something(self) -> "RoundParams":
        if self.alpha == 0 and self.beta == 0:
            raise ValueError("alpha and beta are both 0: every ranking would have reward 0")
        if not any(draw.test for draw in self.recipe.values()):
            raise ValueError("recipe: no dataset has test questions; checkpoints could not be compared")
        return self


class CollectParams(Section):
    """Which checkpoints of a round become models. Both null: the last one."""

    steps: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """The checkpoints of these steps."""
    best: Count | None = None
    """So many checkpoints, the best by validation reward; at most `train.keep_best`."""

    @model_validator(mode="after")
    def _one_choice(self) -> "CollectParams":
        if self.steps is not None and self.best is not None:
            raise ValueError("give steps or best, not both")
        if self.steps is not None and len(set(self.steps)) < len(self.steps):
            raise ValueError("steps names one more than once")
        return self


class MergeParams(Section):
    """How collected checkpoints become one ranker: the mean of their weights."""

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number type of the ranker's weights. Short training of a small model needs float32: its steps are lost in
    bfloat16's rounding."""
    weights: Annotated[tuple[Weight, ...], Field(min_length=1)] | None = None
    """How much each checkpoint counts, by ascending step, relative to the others. null: all the same."""

    @model_validator(mode="after")
    def _not_all_zero(self) -> "MergeParams":
        if self.weights is not None and not any(self.weights):
            raise ValueError("weights are all 0")
        return self

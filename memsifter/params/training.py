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
    """Questions of a step; a multiple of `train.gpus_per_node` / `train.ulysses`."""
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
    advantage: Literal["grpo", "dr_grpo", "rloo", "gdpo"] = "grpo"
    """What a response's reward is compared with. `grpo`: its group's mean, in standard deviations. `dr_grpo`: the mean
    alone, and every token counts the same, however long its response. `rloo`: the mean of the others. `gdpo`: as grpo,
    for the outcome part and the retrieval part of the reward each by itself, so that neither drowns the other; less
    the penalty, compared with its group's mean alone."""
    loss: Literal["vanilla", "gspo", "cispo"] = "vanilla"
    """How far an update may go. `vanilla`: PPO's clipped ratio of each token, with DAPO's bounds. `gspo`: the clipped
    ratio of the whole response. `cispo`: the ratio is clipped, but no token loses its gradient."""
    importance_weights: Literal["none", "token", "sequence"] = "none"
    """Weight of a sampled token, or response, by how much likelier the trainer finds it than the rollout did: corrects
    for their different arithmetic, at the price of a further forward pass."""
    importance_threshold: Annotated[float, Field(gt=1, le=1e6)] = 2.0
    """Upper bound of `importance_weights`."""
    max_replaced_batches: Count = 10
    """Questions whose responses all score the same teach nothing and are replaced. A step that would replace more
    batches than this stops the run: nothing is left to learn from such data."""
    save_every: Count = 2
    """Steps between two checkpoints, in multiples of `test_every`; the last step is saved too."""
    test_every: Count = 2
    """Steps between two validations."""
    test_temperature: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Sampling temperature of validation. 0: one greedy response, so that checkpoints are compared on equal terms."""
    test_responses: Count = 1
    """Responses to each validation question, whose rewards are averaged; above 1, verl also logs the best of them
    (pass@k) as `best@k`."""
    keep_best: Count = 2
    """Checkpoints that stay, the best by validation reward; the last one always stays."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What training runs on."""
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """How the trainer attends. `sdpa`: PyTorch's own; on a GPU, one sequence per forward pass. `flash_attention_2`:
    sequences are packed and may be split (`ulysses`); needs the package flash-attn. `auto`: the latter on a GPU where
    it is installed."""
    ulysses: Count = 1
    """GPUs that one sequence is split over while it is trained on (Ulysses): prompts too long for one GPU. Above 1
    needs flash-attn."""
    offload: bool = False
    """Keep the trainer's weights and optimiser state in the machine's memory while the GPU generates: more room for the
    rollout, slower steps."""
    rollout_memory: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of the GPU's memory that the rollout takes while it generates; it is given back while the weights are
    updated. Of no effect on a CPU."""
    working_llm_memory: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the GPU's memory that a local working LLM takes while it answers beside the rollout; alone, in the chat
    stage, it takes `chat.engine.gpu_memory_utilization`. Of no effect on a CPU."""
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
        if processes % self.ulysses:
            raise ValueError(f"nnodes x gpus_per_node ({processes}) must be a multiple of ulysses ({self.ulysses})")
        if self.mini_batch_size * self.rollouts % (processes // self.ulysses):
            raise ValueError(
                f"mini_batch_size x rollouts ({self.mini_batch_size * self.rollouts}) must be a multiple of "
                f"nnodes x gpus_per_node / ulysses ({processes // self.ulysses})"
            )
        if self.test_responses > 1 and self.test_temperature == 0:
            raise ValueError(
                f"test_responses is {self.test_responses}, but at test_temperature 0 all responses to a question are "
                "the same"
            )
        if self.device == "cpu" and self.attention == "flash_attention_2":
            raise ValueError("attention: flash_attention_2 runs on GPUs only; device is cpu")
        if self.ulysses > 1 and (self.device == "cpu" or self.attention == "sdpa"):
            raise ValueError(
                f"ulysses is {self.ulysses}, but only flash_attention_2, on GPUs, can split a sequence: with sdpa each "
                "GPU would attend to its own part alone"
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
    take over: a small ranker gave the format up (docs/results/learning.md)."""

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
    """So many checkpoints, the best by validation reward; at most `train.keep_best`. With `chat.on_refusal: leave_out`
    that is the mean over the questions that were not refused in that validation."""

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

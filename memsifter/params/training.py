"""The reward and the training rounds."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, Fraction, Name, Section
from memsifter.params.llm import JudgeParams
from memsifter.params.warm_start import WarmStartParams
from memsifter.sessions import Split

ContextOrder = Literal["ranked", "chronological"]
Metric = Literal["token_f1", "exact_match", "bleu", "rouge_l", "judge"]


class RewardParams(Section):
    """How a ranking is paid (see `memsifter.reward`).

    `top_k` is K, the most sessions shown to the working LLM. `context_order`: sessions of a tier as ranked, or in
    haystack order, where equal sets of sessions are equal requests. `accept_repaired`: pay a ranking that could be read
    although it breaks the format; otherwise it scores 0.
    """

    top_k: Count
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
    """Which checkpoints of a round become models: those of `steps`, or the `top_k` best by validation, or the last."""

    steps: Annotated[tuple[Count, ...], Field(min_length=1)] | None
    top_k: Count | None

    @model_validator(mode="after")
    def _one_choice(self) -> "CollectParams":
        if self.steps is not None and self.top_k is not None:
            raise ValueError("give steps or top_k, not both")
        return self


class MergeParams(Section):
    """How collected checkpoints become one ranker. `weights` null: all count the same."""

    dtype: Literal["float32", "bfloat16", "float16"]
    weights: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] | None

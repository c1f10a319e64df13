"""The ranker and the working LLM."""

from typing import Annotated, Literal

from pydantic import Field

from memsifter.corpus.sessions import Split
from memsifter.params.base import Count, Name, Section
from memsifter.params.data import Kind
from memsifter.params.machine import EngineParams

OnRefusal = Literal["fail", "leave_out"]
LengthParameter = Literal["max_tokens", "max_completion_tokens"]


class PromptParams(Section):
    """Prompt files (names in `configs/prompts/`) by the dataset's kind."""

    chat: Name
    deep_research: Name

    def of_kind(self, kind: Kind) -> str:
        """The prompt file's name for a dataset of this kind."""
        return self.chat if kind == "chat" else self.deep_research


class RankParams(Section):
    """The ranker: which sessions it sees and how it writes.

    `train_rankers` also rank the train questions, from which a round that starts from them then samples.
    """

    prompts: PromptParams
    splits: Annotated[tuple[Split, ...], Field(min_length=1)]
    train_rankers: tuple[Name, ...]
    context_tokens: Count
    max_candidates: Count
    candidate_order: Literal["chronological", "similarity"]
    session_tokens: Count | None
    max_tokens: Count
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    structured_output: bool
    think_chars: Annotated[int, Field(ge=0)]
    max_ranked: Count
    concurrency: Count
    batch_size: Count
    engine: EngineParams

    def splits_of(self, ranker: str) -> tuple[Split, ...]:
        """The splits whose questions this ranker ranks."""
        return tuple(dict.fromkeys((*self.splits, *(("train",) if ranker in self.train_rankers else ()))))


class ChatParams(Section):
    """The working LLM. `base_url: local` serves `local_model`, a key of `models`, on loopback as `model`.

    One try of a request may take `timeout_s`, all its tries and the waits between them `deadline_s`.
    """

    base_url: str
    model: str
    local_model: Name
    api_key_env: str
    prompts: PromptParams
    splits: Annotated[tuple[Split, ...], Field(min_length=1)]
    max_sessions: Count
    context_tokens: Count
    session_tokens: Count | None
    max_tokens: Count
    temperature: Annotated[float, Field(ge=0)] | None
    """Sampling temperature. 0: always the likeliest token. null: not sent, for models that refuse it."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the probability from which tokens are sampled. null: not sent, and the endpoint's default holds."""
    length_parameter: LengthParameter = "max_tokens"
    """The name under which `max_tokens` is sent; newer reasoning models take only `max_completion_tokens`."""
    stop: tuple[str, ...]
    concurrency: Count
    timeout_s: Annotated[float, Field(gt=0)]
    deadline_s: Annotated[float, Field(gt=0)]
    max_retries: Annotated[int, Field(ge=0)]
    on_refusal: OnRefusal = "fail"
    """What becomes of questions that the model will not answer: filtered or refused ones, prompts too long for it, and
    replies without an answer. `fail`: all others are answered, then the stage fails and names them. `leave_out`: they
    have no answer and no score and are counted; in training they are replaced by other questions."""
    engine: EngineParams


class JudgeParams(Section):
    """An LLM judge of answers; off when null. Times as in `chat`."""

    base_url: str
    model: str
    api_key_env: str
    concurrency: Count
    timeout_s: Annotated[float, Field(gt=0)]
    deadline_s: Annotated[float, Field(gt=0)] = 600.0
    max_retries: Annotated[int, Field(ge=0)]
    max_tokens: Count = 2048
    """The longest reply, in tokens: room for a model that thinks before its verdict."""
    temperature: Annotated[float, Field(ge=0)] | None = 0.0
    """Sampling temperature. null: not sent, for models that refuse it."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the probability from which tokens are sampled. null: not sent."""
    length_parameter: LengthParameter = "max_tokens"
    """The name under which `max_tokens` is sent; newer reasoning models take only `max_completion_tokens`."""
    on_refusal: OnRefusal = "fail"
    """What becomes of answers without a clear verdict. `fail`: all others are judged, then the stage fails and names
    them. `leave_out`: they have no verdict and are counted; in training their questions are replaced by others."""

"""The ranker and the working LLM."""

from typing import Annotated, Literal

from pydantic import Field

from memsifter.corpus.sessions import Split
from memsifter.params.base import Count, Name, Section
from memsifter.params.data import Kind
from memsifter.params.machine import EngineParams


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
    temperature: Annotated[float, Field(ge=0)]
    stop: tuple[str, ...]
    concurrency: Count
    timeout_s: Annotated[float, Field(gt=0)]
    deadline_s: Annotated[float, Field(gt=0)]
    max_retries: Annotated[int, Field(ge=0)]
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

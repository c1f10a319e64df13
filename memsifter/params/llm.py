"""The ranker, the working LLM, and how what they write is measured."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.corpus.sessions import Split
from memsifter.params.base import (
    Count,
    CountOrZero,
    EndpointUrl,
    Fraction,
    HttpUrl,
    Name,
    Seconds,
    Section,
    VariableName,
    View,
    Weight,
)
from memsifter.params.data import Kind
from memsifter.params.machine import EngineParams

OnRefusal = Literal["fail", "leave_out"]
LengthParameter = Literal["max_tokens", "max_completion_tokens"]


class PromptParams(Section):
    """Prompt files by the dataset's kind."""

    chat: Name
    """Prompt for chat datasets: a file of `configs/prompts/`, without its ending."""
    deep_research: Name
    """Prompt for deep-research datasets: a file of `configs/prompts/`, without its ending."""

    def of_kind(self, kind: Kind) -> str:
        """The prompt file's name for a dataset of this kind."""
        return self.chat if kind == "chat" else self.deep_research


def _check_view(view: View, session_tokens: int | None) -> None:
    if view == "whole" and session_tokens is not None:
        raise ValueError(
            f"view is whole, which cuts nothing, but session_tokens is {session_tokens}; set it to null, or view to "
            "head or excerpt"
        )
    if view != "whole" and session_tokens is None:
        raise ValueError(f"view is {view}, which needs session_tokens, the most tokens of a session; set it")


class RankParams(Section):
    """The ranker: which sessions it sees and how it writes."""

    prompts: PromptParams = PromptParams(chat="ranker", deep_research="ranker_deep_research")
    """The ranker's prompts."""
    splits: Annotated[tuple[Split, ...], Field(min_length=1)] = ("test",)
    """The splits whose questions every ranker ranks."""
    train_rankers: tuple[Name, ...] = ()
    """Rankers that rank the train questions too: a round that starts from one of them prefers questions which it
    ranks neither well nor hopelessly. Set by `configs/rounds/`."""
    context_tokens: Count = 800
    """The longest prompt, in tokens: candidates are added in coarse order while they fit."""
    max_candidates: Count = 8
    """The most sessions in a prompt."""
    candidate_order: Literal["chronological", "similarity"] = "chronological"
    """Order of the candidates in the prompt: by time, or best of the coarse filter first."""
    view: View = "whole"
    """How a session is shown. `whole`: all of it; `head`: its first tokens; `excerpt`: the turns that match the
    question best by `retrieval.bm25`, in their order."""
    session_tokens: Count | None = None
    """The most tokens of a session: needed by `head` and `excerpt`, null for `whole`."""
    max_tokens: Count = 32
    """The longest response, in tokens. A ranker that thinks needs hundreds or thousands."""
    temperature: Annotated[float, Field(ge=0, le=100)] = 0.6
    """Sampling temperature. 0: always the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Tokens are sampled from the likeliest ones that together have this probability. 1: from all."""
    structured_output: bool = True
    """Force the output format, `<think>…</think><ranking>…</ranking>`, by a grammar while the response is written."""
    think_chars: CountOrZero = 0
    """The most characters of thoughts that the grammar lets through before the ranking. 0: no thoughts."""
    max_ranked: Count = 10
    """The most sessions that a response ranks; the others follow in coarse order."""
    scores: Literal["written", "first_number"] = "first_number"
    """Where the ranker's scores of the candidates come from. `written`: from the order that it writes (minus the
    place). `first_number`: from its probabilities of the first number after `<ranking>`, as log-probabilities in nats
    (FIRST, arXiv 2406.15657); where the grammar leaves no thoughts before it (`structured_output`, `think_chars: 0`),
    that one token is decoded and nothing is written."""
    fusion: Literal["written", "fitted"] | Weight = "fitted"
    """How the ranking is made. `written`: what the ranker puts first, then the coarse order, as in the paper. A number:
    candidates by their standardised coarse score + this weight times the ranker's score (a log-probability in nats, or
    the standardised place), at the places that they share in the coarse order; other sessions keep theirs. `fitted`:
    with a weight fitted on train questions, which is 0 where the ranker's score does not help on conversations that it
    was not fitted on."""
    fit_questions: CountOrZero = 60
    """The most train questions with known gold sessions that the ranker ranks as well, to fit the weight of
    `fusion: fitted`. Those of the rounds that it was trained in are left out: a recipe that takes all train questions
    leaves none, and the weight is 0. 0: the weight is 0."""
    concurrency: Count = 1
    """Engine replicas. On a cluster: one per GPU, or per `engine.tensor_parallel_size` GPUs."""
    batch_size: Count = 8
    """Prompts that a replica is given at once. Decides speed only."""
    engine: EngineParams
    """vLLM for the ranker."""

    @model_validator(mode="after")
    def _view_has_its_budget(self) -> "RankParams":
        _check_view(self.view, self.session_tokens)
        return self


class ChatParams(Section):
    """The working LLM, which answers from the top-ranked sessions."""

    base_url: EndpointUrl = "local"
    """An OpenAI-compatible endpoint, such as `https://api.openai.com/v1`. `local`: vLLM serves `local_model` on
    loopback."""
    model: Annotated[str, Field(min_length=1)] = "working-llm"
    """The model's name in requests."""
    local_model: Name = "base"
    """The key of `models` that `base_url: local` serves."""
    api_key_env: VariableName = "OPENAI_API_KEY"
    """Name of the environment variable that holds the endpoint's key. The key itself is never written anywhere."""
    prompts: PromptParams = PromptParams(chat="chat", deep_research="deep_research")
    """The working LLM's prompts."""
    splits: Annotated[tuple[Split, ...], Field(min_length=1)] = ("test",)
    """The splits whose questions are answered. `rank.splits` must contain them."""
    max_sessions: Count = 10
    """The most sessions that the working LLM is shown, best first."""
    min_score: Fraction | None = None
    """Sessions below this probability are not shown, even where none is left. A session's probability is its share
    among the candidates (`probabilities` in `data/rankings/`): the softmax of the fused scores, or the ranker's own
    where `rank.fusion` is `written`; 0 for what was no candidate. null: all are shown."""
    context_tokens: Count = 1600
    """The longest prompt, in tokens of `local_model`'s tokenizer: sessions are added while they fit."""
    view: View = "whole"
    """How a session is shown. `whole`: all of it; `head`: its first tokens; `excerpt`: the turns that match the
    question best by `retrieval.bm25`, in their order."""
    session_tokens: Count | None = None
    """The most tokens of a session: needed by `head` and `excerpt`, null for `whole`."""
    max_tokens: Count = 512
    """The longest answer, in tokens, thoughts included."""
    temperature: Annotated[float, Field(ge=0, le=100)] | None = 0.0
    """Sampling temperature. 0: always the likeliest token. null: not sent, for models that refuse it."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the probability from which tokens are sampled. null: not sent, and the endpoint's default holds."""
    length_parameter: LengthParameter = "max_tokens"
    """The name under which `max_tokens` is sent; newer reasoning models take only `max_completion_tokens`."""
    stop: tuple[str, ...] = ()
    """Texts at which an answer ends."""
    concurrency: Count = 32
    """Requests under way at the same time."""
    timeout_s: Seconds = 120.0
    """The longest that one try of a request may take, in seconds."""
    deadline_s: Seconds = 600.0
    """The longest that all tries of one request and the waits between them may take, in seconds."""
    max_retries: CountOrZero = 10
    """Further tries after a failure that may pass (an overloaded or unreachable server)."""
    on_refusal: OnRefusal = "fail"
    """What becomes of questions that the model will not answer: filtered or refused ones, prompts too long for it, and
    replies without an answer. `fail`: all others are answered, then the stage fails and names them. `leave_out`: they
    have no answer and no score and are counted; in training they are replaced by other questions."""
    engine: EngineParams
    """vLLM for `base_url: local`."""

    @model_validator(mode="after")
    def _view_has_its_budget(self) -> "ChatParams":
        _check_view(self.view, self.session_tokens)
        return self


class JudgeParams(Section):
    """An LLM judge of answers."""

    base_url: HttpUrl
    """The judge's OpenAI-compatible endpoint, such as `https://api.openai.com/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """The judge's name in requests."""
    api_key_env: VariableName
    """Name of the environment variable that holds the endpoint's key."""
    concurrency: Count
    """Requests under way at the same time."""
    timeout_s: Seconds
    """The longest that one try of a request may take, in seconds."""
    deadline_s: Seconds = 600.0
    """The longest that all tries of one request and the waits between them may take, in seconds."""
    max_retries: CountOrZero
    """Further tries after a failure that may pass."""
    max_tokens: Count = 2048
    """The longest reply, in tokens: room for a model that thinks before its verdict."""
    temperature: Annotated[float, Field(ge=0, le=100)] | None = 0.0
    """Sampling temperature. null: not sent, for models that refuse it."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the probability from which tokens are sampled. null: not sent."""
    length_parameter: LengthParameter = "max_tokens"
    """The name under which `max_tokens` is sent; newer reasoning models take only `max_completion_tokens`."""
    on_refusal: OnRefusal = "fail"
    """What becomes of answers without a clear verdict. `fail`: all others are judged, then the stage fails and names
    them. `leave_out`: they have no verdict and are counted; in training their questions are replaced by others."""


class EvaluateParams(Section):
    """How rankings and answers are measured."""

    split: Split = "test"
    """The split whose questions are measured. `rank.splits` and `chat.splits` must contain it."""
    ks: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 3, 5, 10)
    """Cut-offs, in sessions, of NDCG@k, recall@k and the other ranking metrics."""
    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    """Resamples of the questions from which a confidence interval is computed. More: smoother bounds, more time."""
    judge: JudgeParams | None = None
    """An LLM that judges whether an answer agrees with the reference. null: string metrics only."""

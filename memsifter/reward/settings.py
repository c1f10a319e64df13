"""The settings of a run's reward, as one JSON text that travels to every reward worker."""

from functools import cache

from pydantic import BaseModel, ConfigDict, ValidationError

from memsifter.chat.context import sampling_of, sent_prompt
from memsifter.chat.endpoint import Sampling
from memsifter.chat.judge import judge_client, judge_sampling
from memsifter.chat.prompt import ChatPrompt, JudgePrompt, load_chat_prompt, load_judge_prompt
from memsifter.chat.server import working_llm_client
from memsifter.chat.shared_client import ClientSettings
from memsifter.errors import MemSifterError
from memsifter.io.paths import cache_directory, model_directory
from memsifter.llm.prompts import prompt_path
from memsifter.llm.tokens import load_tokenizer, opened_thought
from memsifter.params import Params, RewardParams
from memsifter.params.data import KINDS, Kind
from memsifter.ranking.prompt import load_ranker_prompt


class RewardSettings(BaseModel):
    """Everything that determines a reward beside the rollout and its sample.

    Attributes:
        alpha: weight of the outcome reward.
        beta: weight of the retrieval reward.
        reward: `reward` of params.yaml.
        working_llm: the model that answers.
        sampling: how it decodes.
        prompts: its prompt files by the dataset's kind.
        first_number: the number of the first session in the ranker's prompt, by kind.
        opened_thought: what the chat template of the ranker writes of every output (`memsifter.llm.tokens`).
        judge: the model that judges answers; None unless `reward.metric` is judge, as are the next two.
        judge_sampling: how it decodes.
        judge_prompt: its prompt file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float
    beta: float
    reward: RewardParams
    working_llm: ClientSettings
    sampling: Sampling
    prompts: dict[Kind, ChatPrompt]
    first_number: dict[Kind, int]
    opened_thought: str = ""
    judge: ClientSettings | None = None
    judge_sampling: Sampling | None = None
    judge_prompt: JudgePrompt | None = None


@cache
def read_settings(text: str) -> RewardSettings:
    """Read `RewardSettings.model_dump_json()`.

    Raises:
        MemSifterError: the text is something else.
    """
    try:
        return RewardSettings.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise MemSifterError(f"reward settings: {problems}") from error


def settings_of(params: Params, round_name: str, base_url: str) -> RewardSettings:
    """The settings of one training round.

    Args:
        params: all parameters.
        round_name: a key of `rounds`.
        base_url: where the working LLM is served now (`memsifter.chat.server.serve_working_llm`).

    Raises:
        MemSifterError: a prompt file or the local working LLM is missing or wrong.
    """
    answers = cache_directory("answers")
    training_round = params.rounds[round_name]
    judge = params.reward.judge if params.reward.metric == "judge" else None
    chat_tokenizer = load_tokenizer(model_directory(params.chat.local_model))
    prompts = {kind: load_chat_prompt(prompt_path(params.chat.prompts.of_kind(kind))) for kind in KINDS}
    return RewardSettings(
        alpha=training_round.alpha,
        beta=training_round.beta,
        reward=params.reward,
        working_llm=working_llm_client(params.chat, base_url, "reward", answers),
        sampling=sampling_of(params.chat, params.seed),
        prompts={kind: sent_prompt(prompt, chat_tokenizer, params.chat) for kind, prompt in prompts.items()},
        first_number={kind: load_ranker_prompt(prompt_path(params.rank.prompts.of_kind(kind))).base for kind in KINDS},
        opened_thought=opened_thought(load_tokenizer(model_directory(training_round.start_from))),
        judge=judge_client(judge, "reward.judge", answers) if judge else None,
        judge_sampling=judge_sampling(judge) if judge else None,
        judge_prompt=load_judge_prompt(prompt_path("judge")) if judge else None,
    )

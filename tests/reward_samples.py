"""Questions, rollouts and settings for tests of the reward."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripted_server import Act, Call, Say

from memsifter.chat.endpoint import Sampling
from memsifter.chat.prompt import ChatPrompt
from memsifter.chat.shared_client import ClientSettings
from memsifter.params import RewardParams
from memsifter.params.training import ContextOrder
from memsifter.reward.settings import RewardSettings

PROMPT = ChatPrompt(form="chat", session="({date}) {text}", empty="nothing", user="{sessions} | {question}")


def extra_info(count: int = 10, gold: Sequence[int] = (2, 6), **changes: Any) -> dict[str, Any]:
    """A row's `extra_info`: session i says "fact i", and the answer is what the gold sessions say."""
    values: dict[str, Any] = {
        "dataset": "sample",
        "kind": "chat",
        "question_id": "q1",
        "question": "Which facts?",
        "question_date": "",
        "answer": " ".join(f"fact{number}" for number in gold),
        "dates": [f"day {number}" for number in range(count)],
        "sessions": [f"fact{number}" for number in range(count)],
        "session_tokens": [10] * count,
        "positions": list(range(count)),
        "coarse_order": list(range(count)),
        "gold": list(gold),
        "context_tokens": 1000,
    }
    return {**values, **changes}


def rollout(ranking: Sequence[int]) -> str:
    """A well-formed output; sessions are numbered from 1."""
    return f"<think>so</think><ranking>{','.join(str(number + 1) for number in ranking)}</ranking>"


def reader(gold: Sequence[int] = (2, 6)) -> Any:
    """A working LLM that repeats the gold facts which it is shown, and else guesses wrong."""

    def read(call: Call) -> Act:
        context = call.prompt.partition("|")[0].split()
        return Say(" ".join(f"fact{number}" for number in gold if f"fact{number}" in context) or "no idea")

    return read


def settings(
    base_url: str,
    cache: Path,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    max_sessions: int = 10,
    order: ContextOrder = "chronological",
    accept_repaired: bool = True,
    **client: Any,
) -> RewardSettings:
    values: dict[str, Any] = {
        "section": "reward",
        "base_url": base_url,
        "model": "scripted",
        "revision": "",
        "api_key_env": "",
        "concurrency": 16,
        "timeout_s": 5.0,
        "deadline_s": 30.0,
        "max_retries": 8,
        "cache": cache,
    }
    return RewardSettings(
        alpha=alpha,
        beta=beta,
        reward=RewardParams(
            max_sessions=max_sessions,
            metric="token_f1",
            judge=None,
            context_order=order,
            accept_repaired=accept_repaired,
        ),
        working_llm=ClientSettings(**{**values, **client}),
        sampling=Sampling(max_tokens=16, temperature=0.0),
        prompts={"chat": PROMPT, "deep_research": PROMPT},
        first_number={"chat": 1, "deep_research": 1},
    )

"""compute_score against a real HTTP server, and inside verl's own reward manager."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from reward_samples import extra_info, reader, rollout, settings
from scripted_server import Act, Call, Fail, Say, ScriptedServer

from memsifter.chat.judge import judge_client, judge_sampling
from memsifter.chat.prompt import load_judge_prompt
from memsifter.errors import MemSifterError
from memsifter.llm.prompts import prompt_path
from memsifter.params import JudgeParams, RewardParams
from memsifter.params.llm import OnRefusal
from memsifter.reward.compute_score import compute_score
from memsifter.reward.sample import EXTRA_INFO
from memsifter.reward.tiers import tiers

K = 10


async def score(
    server: ScriptedServer, cache: Path, response: str, row: dict[str, Any] | None = None, **how: Any
) -> Any:
    row = row or extra_info()
    text = settings(server.base_url, cache, **how).model_dump_json()
    return await compute_score(row["dataset"], response, row["answer"], row, settings=text)


def distinct_prefixes(rankings: list[list[int]], ordered: bool) -> int:
    prefixes = [ranking[:tier] for ranking in rankings for tier in tiers(K)]
    return len({tuple(prefix) if ordered else tuple(sorted(prefix)) for prefix in prefixes})


def group(kind: str) -> list[list[int]]:
    """Six rankings of ten sessions."""
    rng = random.Random(3)
    if kind == "identical":
        return [list(range(10))] * 6
    if kind == "random":
        return [rng.sample(range(10), 10) for _ in range(6)]
    rankings = [list(range(10)) for _ in range(6)]
    for ranking in rankings:
        place = rng.randrange(9)
        ranking[place : place + 2] = reversed(ranking[place : place + 2])
    return rankings


@pytest.mark.parametrize("order", ["ranked", "chronological"])
@pytest.mark.parametrize("kind", ["random", "similar", "identical"])
async def test_a_group_sends_one_request_per_distinct_prefix_and_one_without_sessions(
    tmp_path: Path, kind: str, order: str
) -> None:
    rankings = group(kind)
    with ScriptedServer(then=reader()) as server:
        scored = await asyncio.gather(*(score(server, tmp_path, rollout(ranking), order=order) for ranking in rankings))
    assert len(server.calls) == 1 + distinct_prefixes(rankings, ordered=order == "ranked")
    assert sum(each["working_llm_requests"] for each in scored) == len(server.calls)
    assert all(each["working_llm_requests"] + each["working_llm_cache_hits"] == 1 + len(tiers(K)) for each in scored)


async def test_a_second_run_sends_nothing_and_rewards_the_same(tmp_path: Path) -> None:
    with ScriptedServer(then=reader()) as server:
        first = await score(server, tmp_path, rollout([4, 2, 6]))
        sent = len(server.calls)
        second = await score(server, tmp_path, rollout([4, 2, 6]))
    assert len(server.calls) == sent
    assert first["score"] == second["score"] == second["acc"] > 0
    assert second["working_llm_requests"] == 0


async def test_rows_are_read_as_parquet_readers_give_them(tmp_path: Path) -> None:
    row = extra_info(index=0, version="v", split="train", category="c", session_ids=[f"s{n}" for n in range(10)])
    arrow = pa.array([row], EXTRA_INFO).to_pylist()[0]
    arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in arrow.items()}
    with ScriptedServer(then=reader()) as server:
        plain = await score(server, tmp_path, rollout([2, 6]))
        assert (await score(server, tmp_path, rollout([2, 6]), arrow))["score"] == plain["score"]
        assert (await score(server, tmp_path, rollout([2, 6]), arrays))["score"] == plain["score"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sessions": None}, "extra_info lacks sessions"),
        ({"dates": ["one"]}, "do not describe the same 10 sessions"),
        ({"coarse_order": [0] * 10}, "do not describe the same 10 sessions"),
        ({"gold": [10]}, "do not describe the same 10 sessions"),
    ],
)
async def test_a_broken_row_is_named(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    with ScriptedServer() as server, pytest.raises(MemSifterError, match=expected):
        await score(server, tmp_path, rollout([0]), extra_info(**changes))


async def test_a_row_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    text = settings("http://127.0.0.1:1/v1", tmp_path).model_dump_json()
    with pytest.raises(MemSifterError, match="contradicts its extra_info"):
        await compute_score("sample", rollout([0]), "another answer", extra_info(), settings=text)


async def test_wrong_settings_are_named() -> None:
    with pytest.raises(MemSifterError, match="reward settings: alpha: Field required"):
        await compute_score("sample", "", "", extra_info(), settings="{}")


async def test_a_refusing_endpoint_is_an_error_and_never_a_reward(tmp_path: Path) -> None:
    with ScriptedServer(then=lambda _: Fail(401)) as server, pytest.raises(MemSifterError, match=r"127\.0\.0\.1.*401"):
        await score(server, tmp_path, rollout([2]))


JUDGED = RewardParams(
    max_sessions=3,
    metric="judge",
    judge=JudgeParams(
        base_url="http://127.0.0.1:1/v1", model="judge", api_key_env="", concurrency=2, timeout_s=5.0, max_retries=0
    ),
    context_order="ranked",
    accept_repaired=True,
)


async def score_judged(server: ScriptedServer, cache: Path, on_refusal: OnRefusal) -> dict[str, float]:
    config = settings(server.base_url, cache)
    assert JUDGED.judge is not None
    judge = JUDGED.judge.model_copy(update={"base_url": server.base_url, "on_refusal": on_refusal})
    judged = config.model_copy(
        update={
            "reward": JUDGED,
            "judge": judge_client(judge, "reward.judge", cache),
            "judge_sampling": judge_sampling(judge),
            "judge_prompt": load_judge_prompt(prompt_path("judge")),
        }
    )
    row = extra_info()
    return await compute_score(
        row["dataset"], rollout([2, 6, 0]), row["answer"], row, settings=judged.model_dump_json()
    )


def judged(unclear: str) -> Callable[[Call], Act]:
    """A working LLM, and a judge that says yes to the whole answer, no to "no idea", and of half of it `unclear`."""

    def act(call: Call) -> Act:
        if call.body["model"] != "judge":
            return cast(Act, reader()(call))
        prediction = call.prompt.partition("Predicted answer: ")[2].partition("\n")[0]
        return Say({"fact2 fact6": "Verdict: yes", "no idea": "Verdict: no"}.get(prediction, unclear))

    return act


async def test_a_judge_scores_where_the_metric_is_judge(tmp_path: Path) -> None:
    with ScriptedServer(then=judged("It is half right.\nVerdict: no")) as server:
        scored = await score_judged(server, tmp_path, "fail")
    assert [scored[f"s_{tier}"] for tier in (0, 1, 2, 3)] == [0.0, 0.0, 1.0, 1.0]


async def test_an_unclear_verdict_is_an_error_or_leaves_the_question_out(tmp_path: Path) -> None:
    with ScriptedServer(then=judged("yes and no")) as server:
        with pytest.raises(MemSifterError, match=r"reward\.judge: question 'q1': the last line is not a verdict"):
            await score_judged(server, tmp_path, "fail")
        scored = await score_judged(server, tmp_path, "leave_out")
    assert (scored["score"], scored["left_out"]) == (0.0, 1.0)


@pytest.mark.slow
async def test_verls_own_dapo_manager_computes_rewards_with_it(tmp_path: Path) -> None:
    """The one caller that matters: loading by path, reward kwargs, decoding and the overlong penalty are verl's."""
    torch = pytest.importorskip("torch")
    from omegaconf import OmegaConf
    from tiny_tokenizer import byte_tokenizer
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager

    tokenizer = byte_tokenizer()
    response = torch.tensor([tokenizer(rollout([2, 6])).input_ids])
    row = extra_info()
    data = DataProto.from_dict(
        tensors={"responses": response, "attention_mask": torch.ones_like(response)},
        non_tensors={
            "data_source": np.array([row["dataset"]], dtype=object),
            "reward_model": np.array([{"style": "rule", "ground_truth": row["answer"]}], dtype=object),
            "extra_info": np.array([row], dtype=object),
        },
    )
    with ScriptedServer(then=reader()) as server:
        config = OmegaConf.create(
            {
                "reward": {
                    "reward_manager": {"source": "register", "name": "dapo"},
                    "custom_reward_function": {
                        "path": "memsifter/reward/compute_score.py",
                        "name": "compute_score",
                        "reward_kwargs": {"settings": settings(server.base_url, tmp_path).model_dump_json()},
                    },
                    "reward_kwargs": {
                        "max_resp_len": response.shape[1],
                        "overlong_buffer_cfg": {"enable": True, "len": 4, "penalty_factor": 0.5, "log": True},
                    },
                }
            }
        )
        result = await load_reward_manager(config, tokenizer).run_single(data)
        direct = await score(server, tmp_path, rollout([2, 6]))
    assert result["reward_extra_info"]["acc"] == direct["acc"] > 0
    assert result["reward_score"] == pytest.approx(direct["score"] - 0.5)  # the output is as long as may be
    assert set(direct) < set(result["reward_extra_info"])

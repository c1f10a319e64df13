"""The reward of one rollout, with a working LLM that answers from what it is shown."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from reward_samples import extra_info, rollout, settings

from memsifter.chat.endpoint import ChatRequest
from memsifter.chat.reply import Answer, RefusedRequestError
from memsifter.chat.shared_client import ClientSettings
from memsifter.errors import MemSifterError
from memsifter.reward.rollout import RolloutReward, score_rollout
from memsifter.reward.sample import read_sample
from memsifter.reward.tiers import tier_weights


class Reader:
    """Repeats those of the gold facts that the prompt holds. Remembers what it was asked."""

    def __init__(self, gold: tuple[int, ...] = (2, 6)) -> None:
        self.gold = gold
        self.asked: list[str] = []

    async def __call__(self, _: ClientSettings, request: ChatRequest) -> Answer:
        prompt = str(request.prompt)
        cached = prompt in self.asked
        self.asked.append(prompt)
        shown = re.findall(r"fact\d+", prompt)
        facts = [f"fact{number}" for number in self.gold if f"fact{number}" in shown]
        return Answer(" ".join(facts) or "no idea", "stop", None, None, cached)


async def score(response: str, reader: Reader | None = None, row: dict[str, Any] | None = None, **changes: Any) -> Any:
    config = settings("http://127.0.0.1:1/v1", "unused", **changes)  # type: ignore[arg-type]
    return await score_rollout(response, read_sample(row or extra_info()), config, reader or Reader())


async def test_both_gold_sessions_on_top_give_the_whole_reward() -> None:
    scored: RolloutReward = await score(rollout([2, 6, 0, 1]))
    assert scored.scores == {0: 0.0, 1: pytest.approx(2 / 3), 2: 1.0, 3: 1.0, 5: 1.0, 8: 1.0, 10: 1.0}
    assert scored.answer_part == pytest.approx(1 - tier_weights(10)[1] / 3)
    assert scored.retrieval_part == 1.0
    assert scored.reward == scored.answer_part


async def test_what_is_not_named_follows_in_coarse_order() -> None:
    row = extra_info(coarse_order=[6, 2, *(number for number in range(10) if number not in (2, 6))])
    scored = await score(rollout([0]), row=row)
    # 0 (named), 6, 2 (coarse order), …
    assert [scored.scores[tier] for tier in (1, 2, 3)] == [0.0, pytest.approx(2 / 3), 1.0]
    assert scored.named == 1


async def test_a_thought_that_the_chat_template_opened_is_part_of_the_output() -> None:
    config = settings("http://127.0.0.1:1/v1", Path("unused"), accept_repaired=False)
    opened = config.model_copy(update={"opened_thought": "<think>\n"})
    rest = rollout([2, 6]).removeprefix("<think>")
    scored = [await score_rollout(rest, read_sample(extra_info()), each, Reader()) for each in (config, opened)]
    assert [each.status for each in scored] == ["repaired", "ok"]
    assert scored[0].reward == 0.0 < scored[1].reward


async def test_a_question_that_needs_no_session_rewards_no_ranking() -> None:
    class Knows(Reader):
        async def __call__(self, settings: ClientSettings, request: ChatRequest) -> Answer:
            await super().__call__(settings, request)
            return Answer("fact2 fact6", "stop", None, None)

    assert (await score(rollout([2, 6]), Knows())).reward == 0.0
    assert (await score(rollout([9, 8]), Knows())).reward == 0.0


@pytest.mark.parametrize(
    "response", ["", "no idea", "<ranking></ranking>", "<think></think><ranking>-3</ranking>", rollout([10, 11, 99])]
)
async def test_a_malformed_output_has_no_reward_and_sends_nothing(response: str) -> None:
    reader = Reader()
    scored = await score(response, reader, alpha=0.5, beta=0.5)
    assert (scored.reward, scored.status, scored.requests, reader.asked) == (0.0, "failed", 0, [])


@pytest.mark.parametrize(
    "response",
    [
        "<ranking>3,7,1</ranking>",  # no thoughts
        "<think></think><ranking>3,3,7,3,1</ranking>",  # repeats
        "<think></think><ranking>3,-2,7,55,0,1</ranking>",  # negative and out of range
    ],
)
async def test_a_repaired_output_is_paid_unless_told_otherwise(response: str) -> None:
    scored = await score(response)
    assert scored.status == "repaired"
    assert scored.reward == (await score(rollout([2, 6, 0]))).reward > 0
    strict = await score(response, accept_repaired=False)
    assert (strict.reward, strict.status, strict.named) == (0.0, "repaired", 3)


async def test_keys_do_not_depend_on_the_output_or_on_the_number_of_candidates() -> None:
    one = extra_info(1, gold=[0])
    rows = [
        await score(rollout([2])),
        await score("?"),
        await score(rollout([0]), row=one),
        await score("?", alpha=0.0, beta=1.0),
    ]
    assert len({tuple(scored.components()) for scored in rows}) == 1
    assert {"answer_part", "retrieval_part", "s_0", "s_10", "parse_failed"} <= set(rows[0].components())


async def test_with_fewer_candidates_than_k_the_upper_tiers_are_the_whole_ranking() -> None:
    reader = Reader((0,))
    scored = await score(rollout([1, 0, 2]), reader, extra_info(3, gold=[0]))
    assert [scored.scores[tier] for tier in (1, 2, 3, 5, 8, 10)] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert scored.requests == 4  # no session, and one to three of them
    assert scored.cache_hits == 3


async def test_a_round_without_outcome_reward_sends_nothing() -> None:
    reader = Reader()
    scored = await score(rollout([0, 2, 6]), reader, alpha=0.0, beta=1.0)
    assert reader.asked == []
    assert (
        scored.reward
        == scored.retrieval_part
        == pytest.approx((1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3)))
    )


async def test_sessions_that_do_not_fit_the_context_are_left_out() -> None:
    row = extra_info(session_tokens=[10, 10, 500, *[10] * 7], context_tokens=30)
    scored = await score(rollout([0, 2, 6]), row=row)
    assert scored.scores[3] == pytest.approx(2 / 3)  # 6, but not 2


@examples(max_examples=150, deadline=None)
@given(st.permutations(range(10)), st.data(), st.sampled_from(["ranked", "chronological"]))
async def test_moving_a_helpful_session_up_never_lowers_the_reward(
    ranking: list[int], data: st.DataObject, order: str
) -> None:
    place = ranking.index(data.draw(st.sampled_from([2, 6])))
    target = data.draw(st.integers(0, place))
    moved = [number for number in ranking if number != ranking[place]]
    moved.insert(target, ranking[place])
    before = await score(rollout(ranking), alpha=0.5, beta=0.5, order=order)
    after = await score(rollout(moved), alpha=0.5, beta=0.5, order=order)
    assert after.reward >= before.reward - 1e-12


async def test_in_chronological_order_equal_sets_are_equal_requests() -> None:
    reader = Reader()
    for ranking in ([0, 1, 2], [2, 1, 0]):
        await score(rollout(ranking), reader, max_sessions=3)
    # Nothing, {0}, {0 1}, {0 1 2}, {2}, {1 2}.
    assert len(set(reader.asked)) == 6
    ranked = Reader()
    for ranking in ([0, 1, 2], [2, 1, 0]):
        await score(rollout(ranking), ranked, max_sessions=3, order="ranked")
    assert len(set(ranked.asked)) == 7


class Refuses(Reader):
    """Will not answer when it sees session 6."""

    async def __call__(self, settings: ClientSettings, request: ChatRequest) -> Answer:
        if "fact6" in str(request.prompt):
            raise RefusedRequestError("filtered")
        return await super().__call__(settings, request)


async def test_a_refused_question_is_an_error_unless_it_may_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RefusedRequestError, match="filtered"):
        await score(rollout([2, 6]), Refuses())
    left_out = await score(rollout([2, 6]), Refuses(), alpha=0.5, beta=0.5, on_refusal="leave_out")
    assert left_out.left_out
    assert (left_out.reward, left_out.answer_part, set(left_out.scores.values())) == (0.0, 0.0, {0.0})
    assert left_out.retrieval_part == 1.0
    assert "question 'q1' is left out: filtered" in caplog.text
    answered = await score(rollout([2]), Refuses(), extra_info(3, gold=[2]), on_refusal="leave_out")
    assert not answered.left_out
    assert list(left_out.components()) == list(answered.components())


async def test_a_failure_that_is_no_refusal_is_never_left_out() -> None:
    class Down(Reader):
        async def __call__(self, _: ClientSettings, request: ChatRequest) -> Answer:  # noqa: ARG002
            raise MemSifterError("HTTP 500")

    with pytest.raises(MemSifterError, match="HTTP 500"):
        await score(rollout([2, 6]), Down(), on_refusal="leave_out")


@examples(max_examples=100, deadline=None)
@given(st.text(max_size=60))
async def test_no_output_makes_the_reward_fail(response: str) -> None:
    scored = await score(response)
    assert -1 <= scored.reward <= 1

from dataclasses import replace

import pytest

from memsifter.report.failures import Failure, Outcome, classify, explain

GOOD = Outcome(
    ranking=["a", "b", "c", "d"],
    coarse=["b", "a", "d", "c"],
    candidates=["b", "a"],
    context=["a", "b"],
    parse_status="ok",
    scores={"token_f1": 1.0},
    coarse_ndcg=0.6,
    ndcg=1.0,
)


@pytest.mark.parametrize(
    ("outcome", "gold", "failures"),
    [
        (GOOD, ["a"], []),
        (GOOD, [], []),
        (GOOD, ["a", "c"], [Failure.MISSED]),
        (replace(GOOD, ndcg=0.5), ["a"], [Failure.WORSE]),
        (replace(GOOD, ndcg=None, coarse_ndcg=None), [], []),
        (replace(GOOD, scores={"token_f1": 0.4}), ["a"], [Failure.WRONG]),
        (replace(GOOD, scores={"token_f1": 0.0, "judge": 1.0}), ["a"], []),
        (replace(GOOD, scores={"abstention": 0.0}), [], [Failure.WRONG]),
        (replace(GOOD, scores={"abstention": 1.0}), [], []),
        (replace(GOOD, scores={}), [], []),
        (replace(GOOD, parse_status="failed"), ["a"], [Failure.MALFORMED]),
    ],
)
def test_kinds_of_failure(outcome: Outcome, gold: list[str], failures: list[Failure]) -> None:
    assert classify(outcome, gold) == failures


def test_a_gold_session_is_followed_on_its_way() -> None:
    candidate = "coarse rank 2, candidate 2 of the 2 that the ranker read, final rank 1, read by the working LLM"
    assert explain(GOOD, "a") == candidate
    order = replace(GOOD, candidates=[])
    assert explain(order, "a") == "coarse rank 2, final rank 1, read by the working LLM"
    unread = "coarse rank 3, not among the 2 candidates that the ranker read, final rank 4, not read by the working LLM"
    assert explain(GOOD, "d") == unread

import json
from pathlib import Path

import pytest

from memsifter.training.run_directory import MetricsTail, validation_reward


def test_lines_are_read_once_and_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    assert list(tail.read()) == []
    first, second = (json.dumps({"step": step, "data": {"loss": step / 2}}) + "\n" for step in (1, 2))
    path.write_text(first + second[:10])
    assert list(tail.read()) == [(1, {"loss": 0.5})]
    path.write_text(first + second)
    assert list(tail.read()) == [(2, {"loss": 1.0})]
    assert list(tail.read()) == []


def test_only_numbers_are_metrics(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "data": {"a": 1, "nan": null, "name": "x", "flag": true, "table": {"y": 2}}}\n')
    assert list(MetricsTail(path).read()) == [(1, {"a": 1.0})]


def test_the_validation_reward_is_the_mean_over_datasets() -> None:
    metrics = {
        "val-aux/locomo/reward/mean@1": 0.2,
        "val-core/sample/reward/mean@1": 0.6,
        "val-core/sample/acc/mean@1": 1.0,
        "val-aux/sample/reward/std@1": 5.0,
    }
    assert validation_reward(metrics) == 0.4


def test_questions_that_were_left_out_do_not_lower_the_validation_reward() -> None:
    metrics = {
        "val-aux/locomo/reward/mean@1": 0.3,  # a quarter of them left out, with the reward 0
        "val-aux/locomo/left_out/mean@1": 0.25,
        "val-aux/sample/reward/mean@1": 0.6,
        "val-aux/sample/left_out/mean@1": 0.0,
        "val-aux/refused/reward/mean@1": 0.0,
        "val-aux/refused/left_out/mean@1": 1.0,
    }
    assert validation_reward(metrics) == pytest.approx(0.5)


def test_a_step_without_validation_has_none() -> None:
    assert validation_reward({"critic/rewards/mean": 0.3}) is None

import json
from pathlib import Path

import pytest
import torch

from memsifter.checkpoints.collect import select_steps
from memsifter.errors import MemSifterError
from memsifter.training.run_directory import MetricsTail, RunDirectory, validation_reward


def write_responses(path: Path, step: int, text: str = "{}\n") -> None:
    """What a validation leaves beside its metrics."""
    (path / "generations").mkdir(exist_ok=True)
    (path / "generations" / f"{step}.jsonl").write_text(text)


def write_run(path: Path, rewards: dict[int, float | None], latest: int) -> RunDirectory:
    """A run with a checkpoint per step; None: its validation has not ended."""
    lines = []
    for step, reward in rewards.items():
        actor = path / f"global_step_{step}" / "actor"
        (actor / "huggingface").mkdir(parents=True)
        (actor / "huggingface" / "tokenizer.json").write_text("{}")
        templates = actor / "huggingface" / "additional_chat_templates"  # of a tokenizer with several
        templates.mkdir()
        (templates / "tool_use.jinja").write_text("")
        for name in ("model", "optim", "extra_state"):
            torch.save({name: torch.tensor(step)}, actor / f"{name}_world_size_1_rank_0.pt")
        (actor / "fsdp_config.json").write_text("{}")
        (actor.parent / "data.pt").write_text("")
        if reward is not None:
            write_responses(path, step)
            data = {"val-aux/a/reward/mean@1": reward, "val-aux/b/reward/mean@1": reward, "val-core/a/acc/mean@1": 9.0}
            lines.append(json.dumps({"step": step, "data": data}))
    (path / "attempt_1.yaml").write_text("")
    (path / "attempt_1.jsonl").write_text("".join(line + "\n" for line in lines))
    (path / "latest_checkpointed_iteration.txt").write_text(str(latest))
    return RunDirectory(path)


def test_the_best_and_the_latest_checkpoint_stay(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.5, 5: 0.2}, latest=5)
    run.prune(keep_best=2)
    assert run.saved_steps() == [2, 4, 5]


def test_the_later_of_equals_is_better_as_for_collect(tmp_path: Path) -> None:
    rewards: dict[int, float | None] = {1: 0.5, 2: 0.5, 3: 0.1}
    run = write_run(tmp_path, rewards, latest=3)
    run.prune(keep_best=1)
    assert run.saved_steps() == [2, 3]
    assert select_steps(run.saved_steps(), best=1, scores=run.validation_rewards()) == [2]


def test_a_checkpoint_that_was_not_to_be_kept_is_missed_later(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.3}, latest=4)
    run.prune(keep_best=1)
    run.check_kept(keep_best=1, save_every=1)
    with pytest.raises(MemSifterError, match=r"steps 3 were removed when train\.keep_best was smaller"):
        run.check_kept(keep_best=2, save_every=1)


def test_only_the_latest_can_be_resumed_from(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.5, 2: 0.1}, latest=2)
    run.prune(keep_best=1)
    assert sorted(path.name for path in run.checkpoint(1).rglob("*.pt")) == ["model_world_size_1_rank_0.pt"]
    assert len(list(run.checkpoint(2).rglob("*.pt"))) == 4


def test_a_checkpoint_that_is_being_written_or_tested_stays(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.5, 2: None, 3: 0.1, 4: None}, latest=3)
    run.prune(keep_best=1)
    assert {path.name for path in tmp_path.glob("global_step_*")} == {f"global_step_{step}" for step in (1, 2, 3, 4)}
    assert run.saved_steps() == [1, 2, 3]


@pytest.mark.parametrize("written", ["", '{"step": 2, "outp'])
def test_a_validation_counts_when_its_responses_are_written(tmp_path: Path, written: str) -> None:
    run = write_run(tmp_path, {1: 0.1, 2: 0.2}, latest=2)
    assert run.is_complete(2)
    write_responses(tmp_path, 2, written)
    assert not run.is_complete(2)
    assert run.validation_rewards() == {1: 0.1}


def test_a_step_whose_responses_were_never_written_is_left_out_of_their_table(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.5, 2: 0.5, 3: 0.5}, latest=3)
    run.rollouts.mkdir()
    (run.rollouts / "1.jsonl").write_text("{}\n")
    (run.rollouts / "2.jsonl").write_text('{"input": "killed while')  # killed after the checkpoint
    assert run.dumped_steps() == [1]


def test_steps_after_the_latest_checkpoint_are_forgotten(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3}, latest=2)
    assert list(run.history()) == [1, 2]


def test_a_step_that_was_run_again_has_its_last_metrics(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.1, 2: 0.2}, latest=2)
    (tmp_path / "attempt_2.yaml").write_text("")
    run.attempt("jsonl", 2).write_text(
        json.dumps({"step": 2, "data": {"val-aux/a/reward/mean@1": 0.6, "val-aux/b/reward/mean@1": 0.8}}) + "\n"
    )
    assert run.validation_rewards() == pytest.approx({1: 0.1, 2: 0.7})


def test_what_is_published_can_be_collected_but_not_resumed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {1: 0.1, 2: 0.2}, latest=2)
    target = tmp_path / "checkpoints"
    assert run.publish(target) == [1, 2]
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    names = (
        "fsdp_config.json",
        "huggingface/additional_chat_templates/tool_use.jinja",
        "huggingface/tokenizer.json",
        "model_world_size_1_rank_0.pt",
    )
    assert files == {"validation.json"} | {f"global_step_{step}/actor/{name}" for step in (1, 2) for name in names}
    assert torch.load(target / "global_step_2" / "actor" / names[-1]) == {"model": torch.tensor(2)}
    assert json.loads((target / "validation.json").read_text()) == {"1": 0.1, "2": 0.2}


def test_a_broken_checkpoint_is_not_published(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {1: 0.1}, latest=1)
    shard = run.checkpoint(1) / "actor" / "model_world_size_1_rank_0.pt"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(MemSifterError, match=rf"{shard}: broken"):
        run.publish(tmp_path / "checkpoints")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_that_was_stopped_while_it_noted_its_last_checkpoint_can_be_resumed(tmp_path: Path) -> None:
    run = write_run(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3}, latest=2)
    (run.checkpoint(3) / "data.pt").unlink()  # still being written
    tracker = tmp_path / "latest_checkpointed_iteration.txt"
    tracker.write_text("")
    assert run.latest_step() == 2
    run.repair()
    assert tracker.read_text() == "2"


def test_publishing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="no checkpoint to publish"):
        RunDirectory(tmp_path).publish(tmp_path / "out")


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


def test_a_step_without_validation_has_none() -> None:
    assert validation_reward({"critic/rewards/mean": 0.3}) is None


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


def test_a_validation_that_was_refused_altogether_says_so() -> None:
    metrics = {"val-aux/sample/reward/mean@1": 0.0, "val-aux/sample/left_out/mean@1": 1.0}
    with pytest.raises(MemSifterError, match="refused every validation question"):
        validation_reward(metrics)

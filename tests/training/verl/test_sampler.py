from collections import Counter
from typing import Any

import pytest
from omegaconf import OmegaConf

pytestmark = pytest.mark.slow  # importing verl takes many seconds


@pytest.fixture
def sampler() -> Any:
    from memsifter.training.verl.sampler import GroupSampler

    return GroupSampler(
        sampler_kwargs=OmegaConf.create({"metric": "acc", "batch_size": 2, "max_replaced_groups": 4}),
        trainer_mode="sync",
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        refill_fn=lambda _: None,
    )


def test_a_question_that_failed_stops_the_run_in_training_and_validation(sampler: Any) -> None:
    for partition in ("train", "val"):
        sampler.failure_keys[partition].add("question")
        with pytest.raises(RuntimeError, match=r"1 question\(s\) failed in step 3"):
            sampler._terminal_eviction_reasons(3, partition)


def test_a_step_may_replace_so_many_groups_and_no_more(sampler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = iter(({"a", "b"}, {"c", "d"}, {"e"}))
    monkeypatch.setattr(
        type(sampler).__mro__[1], "_dapo_filtered_keys", lambda *_: (found := next(uniform), Counter({0.5: len(found)}))
    )
    for _ in range(2):
        sampler._terminal_eviction_reasons(1, "train")
    with pytest.raises(RuntimeError, match=r"step 1: 5 questions were replaced .* same acc"):
        sampler._terminal_eviction_reasons(1, "train")


def test_a_group_with_a_response_that_was_left_out_is_replaced(sampler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rewards = {
        "kept": [{"acc": 0.1, "left_out": 0.0}, {"acc": 0.4, "left_out": 0.0}],
        "refused": [{"acc": 0.3, "left_out": 0.0}, {"acc": 0.0, "left_out": 1.0}],
        "uniform": [{"acc": 0.5, "left_out": 0.0}, {"acc": 0.5, "left_out": 0.0}],
    }
    fields = {
        f"{name}_{n}_0": {"reward_extra_info": info} for name, group in rewards.items() for n, info in enumerate(group)
    }
    sampler.partitions["train"] = dict.fromkeys(fields)
    sampler.finished_keys["train"] = set(rewards)
    monkeypatch.setattr(
        "transfer_queue.kv_batch_get", lambda keys, **_: {"extra_fields": [fields[key] for key in keys]}
    )
    reasons = sampler._terminal_eviction_reasons(1, "train")
    assert reasons[1] == {"refused", "uniform"}
    assert sampler._sampleable_terminal_keys("train", reasons) == {"kept"}
    sampler._clear_groups = lambda *_: None
    sampler._max_replaced = 3
    with pytest.raises(RuntimeError, match=r"4 questions were replaced \(the working LLM refused 1; "):
        sampler._terminal_eviction_reasons(1, "train")


def test_components_of_the_reward_are_averaged_over_responses() -> None:
    from memsifter.training.verl.sampler import average_components

    fields = [{"reward_extra_info": {"acc": 1.0, "parsed": True}}, {"reward_extra_info": {"acc": 0.5, "parsed": False}}]
    assert average_components(fields) == {"reward/acc/mean": 0.75, "reward/parsed/mean": 0.5}


def test_responses_stand_where_their_texts_say_whatever_the_groups_are_called() -> None:
    from memsifter.training.verl.sampler import place_responses

    texts = {"a_0_0": (b"1", b"5"), "a_1_0": (b"1", b"6"), "b_0_0": (b"2", b"5")}
    places = place_responses(list(texts), *zip(*texts.values(), strict=True))
    renamed = {"z_1_0": (b"1", b"5"), "y_0_0": (b"2", b"5"), "z_0_0": (b"1", b"6")}
    same = place_responses(list(renamed), *zip(*renamed.values(), strict=True))
    assert [texts[key] for key in sorted(texts, key=places.__getitem__)] == [
        renamed[key] for key in sorted(renamed, key=same.__getitem__)
    ]
    assert places["a_0_0"][0] == places["a_1_0"][0] != places["b_0_0"][0], "responses of a group stand together"


def test_nothing_is_decided_while_a_question_is_under_way(sampler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[dict[str, str]] = [{"a": "running", "b": "finished"}, {"a": "pending"}, {"a": "finished"}]

    def kv_list() -> dict[str, Any]:
        tags = looks.pop(0)
        return {
            "train": {key: {"is_prompt": True, "global_steps": 1, "status": status} for key, status in tags.items()}
        }

    monkeypatch.setattr("transfer_queue.kv_list", kv_list)
    monkeypatch.setattr(sampler, "poll_interval", 0.0)
    sampler._sync_metadata_from_transfer_queue()
    assert looks == []
    assert sampler.finished_keys["train"] == {"a"}

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from fsdp_checkpoints import Run, save_runs
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import make_model, read_state

from memsifter.checkpoints.collect import collect_checkpoints, find_steps, select_steps, step_directories
from memsifter.checkpoints.merge import merge_checkpoints
from memsifter.errors import MemSifterError

STEPS = [5, 10, 15, 20]


def test_the_last_step_is_the_default() -> None:
    assert select_steps([10, 20, 5]) == [20]


def test_listed_steps_are_collected_in_order() -> None:
    assert select_steps(STEPS, steps=[20, 5]) == [5, 20]


@pytest.mark.parametrize(
    ("best", "scores", "expected"),
    [
        (1, {5: 0.1, 10: 0.4, 15: 0.3, 20: 0.2}, [10]),
        (2, {5: 0.1, 10: 0.4, 15: 0.3, 20: 0.2}, [10, 15]),
        (1, {5: 0.4, 10: 0.4, 15: 0.3, 20: 0.4}, [20]),
        (2, {5: 0.4, 10: 0.4, 15: 0.4, 20: 0.1}, [10, 15]),
        (1, {10: -0.2, 20: -0.4, 12: 0.9}, [10]),
    ],
    ids=["best", "two best", "later of equals", "later two of equals", "validated and kept steps only"],
)
def test_the_best_steps_by_score(best: int, scores: Mapping[int, float], expected: list[int]) -> None:
    assert select_steps(STEPS, best=best, scores=scores) == expected


@given(scores=st.dictionaries(st.integers(0, 50), st.sampled_from([0.0, 0.25, 0.5]), min_size=1), data=st.data())
def test_no_step_left_out_is_better(scores: dict[int, float], data: st.DataObject) -> None:
    best = data.draw(st.integers(1, len(scores)))
    chosen = select_steps(list(scores), best=best, scores=scores)
    assert len(chosen) == best
    assert chosen == sorted(chosen)
    left_out = [(scores[step], step) for step in scores if step not in chosen]
    assert not left_out or max(left_out) < min((scores[step], step) for step in chosen)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"steps": [5, 7]}, "no checkpoint of step 7; there are checkpoints of steps 5, 10, 15, 20"),
        ({"steps": []}, "at least one"),
        ({"steps": [5, 5]}, "none twice"),
        ({"steps": [5], "best": 1}, "not both"),
        ({"best": 0, "scores": {5: 0.1}}, "the 0 best"),
        ({"best": 2, "scores": {5: 0.1, 7: 0.3}}, "the 2 best steps; .* of which validated: 5"),
        ({"best": 1}, "of which validated: none"),
        ({"best": 1, "scores": {5: float("nan"), 10: 1.0}}, "score of step 5 is nan"),
    ],
)
def test_wrong_choices_are_refused(choice: dict[str, object], message: str) -> None:
    with pytest.raises(MemSifterError, match=message):
        select_steps(STEPS, **choice)  # type: ignore[arg-type]


def test_nothing_to_choose_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="no checkpoint to collect"):
        select_steps([])
    with pytest.raises(MemSifterError, match="holds no checkpoint"):
        find_steps(tmp_path)
    with pytest.raises(MemSifterError, match="holds no collected checkpoint"):
        step_directories(tmp_path)


def test_collected_steps_are_listed_by_number(tmp_path: Path) -> None:
    for name in ("global_step_10", "global_step_9", "global_step_best", "other"):
        (tmp_path / name).mkdir()
    assert [path.name for path in step_directories(tmp_path)] == ["global_step_9", "global_step_10"]


def test_steps_without_a_saved_model_are_not_found(tmp_path: Path) -> None:
    for step in (2, 10):
        (tmp_path / f"global_step_{step}" / "actor").mkdir(parents=True)
        (tmp_path / f"global_step_{step}" / "actor" / "fsdp_config.json").write_text("{}")
    (tmp_path / "global_step_4").mkdir()
    (tmp_path / "global_step_4" / "data.pt").touch()
    assert find_steps(tmp_path) == [2, 10]


def make_actor(run: Path) -> Path:
    actor = run / "global_step_1" / "actor"
    (actor / "huggingface").mkdir(parents=True)
    (actor / "huggingface" / "config.json").write_text("{}")
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
    return actor


def test_incomplete_checkpoints_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "missing or incomplete")
    actor = make_actor(tmp_path)
    (actor / "huggingface" / "config.json").unlink()
    assert_refused(tmp_path, "config.json: no such file")
    (actor / "fsdp_config.json").write_text("{}")
    assert_refused(tmp_path, "no world_size")


def test_adapters_are_refused(tmp_path: Path) -> None:
    (make_actor(tmp_path) / "lora_train_meta.json").write_text("{}")
    assert_refused(tmp_path, "LoRA adapter")


RUNS = {"one rank": (1, 1), "two ranks": (1, 2), "two replicas": (2, 1), "two ranks, bfloat16": (1, 2)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By run `model/` and verl's `checkpoints/global_step_3`; 259 tokens do not divide evenly by two ranks."""
    root = tmp_path_factory.mktemp("trained")
    runs = []
    for seed, (name, (replicas, shards)) in enumerate(RUNS.items()):
        dtype = torch.bfloat16 if "bfloat16" in name else torch.float32
        model = make_model(root / name / "model", seed, architecture="qwen3", merges=3, dtype=dtype)
        runs.append(Run(model, root / name / "checkpoints" / "global_step_3" / "actor", replicas, shards))
    save_runs(runs, root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_collected_models_are_the_trained_ones_byte_for_byte(trained: Path, tmp_path: Path, name: str) -> None:
    checkpoints = trained / name / "checkpoints"
    collect_checkpoints(checkpoints, find_steps(checkpoints), tmp_path / "out")
    model, collected = trained / name / "model", tmp_path / "out" / "global_step_3"
    state, expected = read_state(collected), read_state(model)
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        assert state[key].dtype == tensor.dtype
        assert torch.equal(state[key], tensor)
    for file in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (collected / file).read_bytes() == (model / file).read_bytes()
    assert {path.name for path in collected.iterdir()} == {path.name for path in model.iterdir()}


@pytest.mark.slow
def test_collecting_twice_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    for out in ("once", "again"):
        collect_checkpoints(trained / "two ranks" / "checkpoints", [3], tmp_path / out)
    once, again = (sorted((tmp_path / out).rglob("*.*")) for out in ("once", "again"))
    assert [path.name for path in once] == [path.name for path in again]
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


@pytest.mark.slow
def test_checkpoints_of_different_world_sizes_merge(trained: Path, tmp_path: Path) -> None:
    inputs = []
    for name in ("one rank", "two ranks"):
        collect_checkpoints(trained / name / "checkpoints", [3], tmp_path / name)
        inputs.append(tmp_path / name / "global_step_3")
    merge_checkpoints(inputs, tmp_path / "merged", "float32")
    first, second = (read_state(trained / name / "model") for name in ("one rank", "two ranks"))
    for key, tensor in read_state(tmp_path / "merged").items():
        assert torch.equal(tensor, ((first[key].double() + second[key].double()) / 2).float())


@pytest.mark.slow
def test_broken_shards_are_refused(trained: Path, tmp_path: Path) -> None:
    actor = copy_run(trained, tmp_path)
    shard = actor / "model_world_size_2_rank_1.pt"
    shard.write_bytes(shard.read_bytes()[:1000])
    assert_refused(tmp_path, "model_world_size_2_rank_1.pt: broken", step=3)
    shard.unlink()
    assert_refused(tmp_path, "model_world_size_2_rank_1.pt: no such file", step=3)


class Payload:
    """What an attacker would put into a shard: unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_code_in_a_shard_is_not_run(trained: Path, tmp_path: Path, rank: int) -> None:
    actor = copy_run(trained, tmp_path)
    torch.save({"model.norm.weight": Payload(tmp_path / "run")}, actor / f"model_world_size_2_rank_{rank}.pt")
    assert_refused(tmp_path, "holds more than tensors", step=3)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_ranks_of_different_models_are_refused(trained: Path, tmp_path: Path) -> None:
    actor = copy_run(trained, tmp_path)
    shard = actor / "model_world_size_2_rank_1.pt"
    state = torch.load(shard, weights_only=True)
    del state["model.norm.weight"]
    torch.save(state, shard)
    assert_refused(tmp_path, "rank_1.pt: model.norm.weight", step=3)


def copy_run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "two ranks" / "checkpoints", tmp_path, dirs_exist_ok=True)
    return tmp_path / "global_step_3" / "actor"


def assert_refused(checkpoints: Path, message: str, step: int = 1) -> None:
    out = checkpoints / "collected" / "out"
    with pytest.raises(MemSifterError, match=message):
        collect_checkpoints(checkpoints, [step], out)
    assert not out.parent.exists() or not any(out.parent.iterdir())

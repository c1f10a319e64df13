import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_stage_deps import closure, named_in_configs
from training_inputs import ENGINE, LOCAL, train_params, write_inputs

from memsifter.io.paths import ROOT
from memsifter.params import ClusterParams
from memsifter.training import fingerprint as module
from memsifter.training.fingerprint import code_files, fingerprint_training
from memsifter.training.verl.config import TrainingInputs, compose_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TrainingInputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def fingerprint(inputs: TrainingInputs, cluster: ClusterParams = LOCAL, **changes: object) -> str:
    config = compose_config(inputs, train_params(**changes), ENGINE, cluster)
    return fingerprint_training(config, inputs, {"metric": "token_f1"})


def test_places_and_ports_do_not_count(inputs: TrainingInputs, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(write_inputs(tmp_path), reward_settings=json.dumps({"base_url": "127.0.0.1:5000"}))
    cluster = ClusterParams(address="10.0.0.1:6379", job_server=None, num_cpus=None, num_gpus=None)
    assert fingerprint(elsewhere, cluster, reward_workers=3, stall_minutes=1.0) == fingerprint(inputs)


def test_parameters_data_model_and_reward_count(inputs: TrainingInputs, tmp_path: Path) -> None:
    from memsifter.models.tiny import write_tiny_model

    write_tiny_model(tmp_path / "model", seed=1)
    config = compose_config(inputs, train_params(), ENGINE, LOCAL)
    found = [
        fingerprint(inputs),
        fingerprint(inputs, learning_rate=1e-4),
        fingerprint(inputs, overrides=("actor_rollout_ref.actor.grad_clip=0.5",)),
        fingerprint(write_inputs(tmp_path / "more", train_rows=9)),
        fingerprint(dataclasses.replace(inputs, model=tmp_path / "model")),
        fingerprint(dataclasses.replace(inputs, seed=8)),
        fingerprint_training(config, inputs, {"metric": "bleu"}),
    ]
    assert len(set(found)) == len(found)


def test_a_change_of_a_dep_counts(inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dvc = {
        "stages": {"train": {"do": {"deps": ["memsifter/reward", "memsifter/training", "configs/verl", "data/${key}"]}}}
    }
    learns = ("memsifter/reward/tiers.py", "memsifter/training/warm_start.py", "configs/verl/dapo.yaml")
    only_runs = ("memsifter/training/report.py", "memsifter/reward/notes.txt")
    for name in (*learns, *only_runs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(dvc))
    assert code_files(tmp_path) == sorted(learns)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    found = [fingerprint(inputs)]
    for name in learns:
        (tmp_path / name).write_text("after")
        found.append(fingerprint(inputs))
    assert len(set(found)) == len(found)
    for name in only_runs:
        (tmp_path / name).write_text("after")
    assert fingerprint(inputs) == found[-1]


def test_all_that_verl_imports_counts() -> None:
    plugins = closure(named_in_configs(ROOT / "configs" / "verl")) | closure(
        set((ROOT / "memsifter" / "training" / "verl").rglob("*.py"))
    )
    learnt = {name for name in plugins if not name.startswith("memsifter/models/")}
    assert learnt
    assert learnt <= set(code_files(ROOT))


def test_what_does_not_count_exists() -> None:
    assert [name for name in module._DOES_NOT_LEARN if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"advantage": "gdpo"}, True),
        ({"test_temperature": 0.5}, True),
        ({"steps": 4}, True),
        ({"max_replaced_batches": 9}, True),
        ({"offload": True}, False),
        ({"rollout_memory": 0.3}, False),
        ({"working_llm_memory": 0.3}, False),
        ({"reward_workers": 3}, False),
        ({"stall_minutes": 1.0}, False),
        ({"keep_best": 3}, False),
        ({"attention": "sdpa"}, False),  # what `auto` is on a CPU
    ],
)
def test_a_parameter_counts_if_it_changes_what_is_learnt(
    changes: dict[str, Any], counts: bool, inputs: TrainingInputs
) -> None:
    default = train_params()
    assert all(getattr(default, name) != value for name, value in changes.items()), "the table changes something"
    assert (fingerprint(inputs, **changes) != fingerprint(inputs)) is counts


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_goes_on_with_a_smaller_cache(inputs: TrainingInputs, device: str) -> None:
    train = train_params(device=device)
    one, less = (
        fingerprint_training(compose_config(inputs, train, engine, LOCAL), inputs, {})
        for engine in (ENGINE, ENGINE.model_copy(update={"cpu_kv_cache_gib": 0.25}))
    )
    assert one == less

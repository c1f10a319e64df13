import dataclasses
import json
from pathlib import Path

import pytest
from training_inputs import ENGINE, LOCAL, train_params, write_inputs

from memsifter.params import ClusterParams
from memsifter.training.fingerprint import fingerprint_training
from memsifter.training.verl.config import TrainingInputs, compose_config


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

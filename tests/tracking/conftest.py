import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from mlflow import MlflowClient

from memsifter.io import paths
from memsifter.params import Params, parse_params
from memsifter.tracking.records import tracking_uri
from memsifter.tracking.store import open_experiment

SECRETS = ("sk-secret-of-the-environment", "secret-password", "secret-signature")


@pytest.fixture(scope="session")
def secrets() -> tuple[str, ...]:
    """An API key for the environment, and the password and signature in a URL of `params`."""
    return SECRETS


@pytest.fixture(scope="session")
def params() -> Params:
    """The default parameters, with a dataset whose URL carries secrets, as validation would refuse it."""
    values = yaml.safe_load((paths.ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["datasets"]["private"] = {
        "reader": "flat",
        "url": "https://data.example.org/rows.parquet",
        "sha256": "0" * 64,
        "watch": "memsifter/datasets/flat.py",
    }
    params = parse_params(values)
    url = f"https://someone:{SECRETS[1]}@data.example.org/rows.parquet?expires=9&sig={SECRETS[2]}"
    private = params.datasets["private"].model_copy(update={"url": url})
    return params.model_copy(update={"datasets": {**params.datasets, "private": private}})


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """A database with MLflow's tables; creating them takes seconds, copying the file does not."""
    root = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        patch.setenv(paths.CACHE_VARIABLE, str(root / "cache"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with open_experiment(params):
            pass
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Path:
    """An empty repository root with a database; the test runs as if started by hand."""
    for name in ("MLFLOW_TRACKING_URI", "MEMSIFTER_RUN", "DVC_STAGE", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(tmp_path / ".cache" / "memsifter"))
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def open_pipeline(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Repo]]:
    """A function that makes the root a DVC repository with this dvc.yaml and the parameters, and enters it."""
    with ExitStack() as repositories:

        def start(dvc_yaml: str) -> Repo:
            monkeypatch.chdir(root)
            (root / "dvc.yaml").write_text(dvc_yaml)
            (root / "params.yaml").write_text(json.dumps(params.model_dump(mode="json")))
            return repositories.enter_context(Repo.init(str(root), no_scm=True))

        yield start


@pytest.fixture
def runs(root: Path, params: Params) -> Callable[[], list[Any]]:
    """A function that returns all runs in the database, oldest first."""
    assert str(root) in tracking_uri(params)

    def all_runs() -> list[Any]:
        client = MlflowClient(tracking_uri(params))
        experiment = client.get_experiment_by_name(params.tracking.experiment)
        return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))

    return all_runs

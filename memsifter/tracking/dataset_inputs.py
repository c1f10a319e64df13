"""What a stage read, as MLflow's datasets: the digest is the hash that DVC knows the data by."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from mlflow.entities import Dataset, DatasetInput


def describe_datasets(hashes: Mapping[str, str | None]) -> list[DatasetInput]:
    """The processed datasets and RL data among a stage's dependencies.

    Args:
        hashes: MD5 by path; what has none was never recorded and is left out.
    """
    found = []
    for path, md5 in hashes.items():
        match PurePosixPath(path).parts:
            case ("data", "processed" | "rl" as kind, name) if md5:
                source = json.dumps({"path": path, "md5": md5})
                label = name if kind == "processed" else f"{kind}/{name}"
                found.append(DatasetInput(Dataset(name=label, digest=md5, source_type="dvc", source=source)))
    return found

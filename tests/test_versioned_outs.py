"""What of the outs is in git, and what DVC offers by name."""

import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("path", "in_git"),
    [
        ("results/orders/sample/metrics.json", True),
        ("results/base/sample/metrics.json", True),
        ("reports/summary.md", True),
        ("results/base/sample/table.csv", False),
        ("results/base/sample/questions.parquet", False),
        ("results/base/sample/.metrics.json.x.tmp", False),
        ("reports/retrieval.csv", False),
        ("reports/report.html", False),
        ("reports/training/round1/live/metrics.json", False),
        ("data/processed/sample/questions.parquet", False),
        ("models/round1/model.safetensors", False),
    ],
)
def test_scores_are_in_git_and_all_else_is_dvc_s(path: str, in_git: bool) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode == (1 if in_git else 0)


def test_dvc_caches_what_git_does_not_have() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    uncached = []
    for stage in stages.values():
        for entry in [*stage.get("do", stage).get("outs", []), *stage.get("do", stage).get("metrics", [])]:
            if isinstance(entry, dict):
                uncached += [path for path, options in entry.items() if options.get("cache") is False]
    assert {Path(path).name for path in uncached} == {"metrics.json", "summary.md"}


def test_every_training_round_is_an_artifact() -> None:
    artifacts = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["artifacts"]
    files = (ROOT / "configs" / "rounds").glob("*.yaml")
    rounds = {name for file in files for name in yaml.safe_load(file.read_text(encoding="utf-8")).get("rounds", {})}
    assert artifacts.keys() == rounds
    assert all(artifact["path"] == f"models/{name}" for name, artifact in artifacts.items())
    assert {artifact["type"] for artifact in artifacts.values()} == {"model"}

"""Outs shared through S3, over real HTTP: moto's server is started here, on loopback."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from pipeline_clone import COARSE_STAGES, Clone, clone_of, copy_of, stages_run

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1800)]  # with the wait for the shared clone

*UPSTREAM, TARGET = COARSE_STAGES


@dataclass(frozen=True)
class Bucket:
    """A bucket of a running S3 server."""

    client: Any
    endpoint: str
    name: str

    def colleague(self, source: Clone, root: Path) -> Clone:
        """A new Git clone, with nothing in its DVC cache, that is told of the bucket."""
        clone = clone_of(source, root)
        clone.check("bash", "scripts/remote.sh", f"s3://{self.name}/memsifter", self.endpoint)
        return clone

    def object_of(self, clone: Clone, stage: str) -> str:
        """The key under which the only out of a stage is stored."""
        (out,) = yaml.safe_load((clone.root / "dvc.lock").read_text())["stages"][stage]["outs"]
        return f"memsifter/files/md5/{out['md5'][:2]}/{out['md5'][2:]}"


@pytest.fixture(scope="module")
def coarse(coarse_source: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The clone whose outs are shared."""
    return copy_of(coarse_source, tmp_path_factory.mktemp("coarse") / "clone")


@pytest.fixture(scope="module")
def bucket(coarse: Clone) -> Iterator[Bucket]:
    """A bucket that holds what the clone has computed, run-cache included."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "ACCESS_KEY_ID": "test",
            "SECRET_ACCESS_KEY": "test",
            "DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(f"AWS_{name}", value)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="team")
        bucket = Bucket(client, f"http://{host}:{port}", "team")
        coarse.check("bash", "scripts/remote.sh", "s3://team/memsifter", bucket.endpoint)
        coarse.check("dvc", "push", "--run-cache")
        yield bucket
        server.stop()


def test_a_colleague_pulls_and_runs_nothing(bucket: Bucket, coarse: Clone, tmp_path: Path) -> None:
    other = bucket.colleague(coarse, tmp_path / "other")
    other.check("dvc", "pull", *UPSTREAM, TARGET)
    assert "up to date" in other.check("dvc", "status", *UPSTREAM, TARGET)
    assert stages_run(other.check("dvc", "repro", TARGET)) == set()
    for path in ("results/orders/sample/table.csv", "data/orders/sample.parquet"):
        assert (other.root / path).read_bytes() == (coarse.root / path).read_bytes()


def test_one_stage_is_pulled_without_the_models(bucket: Bucket, coarse: Clone, tmp_path: Path) -> None:
    other = bucket.colleague(coarse, tmp_path / "other")
    assert (other.root / "results/orders/sample/metrics.json").is_file(), "the scores are in git"
    assert "2 files fetched" in other.check("dvc", "pull", "evaluate_coarse")
    assert [path.name for path in (other.root / "models").iterdir()] == ["README.md"]
    assert stages_run(other.check("dvc", "repro", "--pull", "--allow-missing", TARGET)) == set()
    assert not (other.root / "models/embedder").exists()


def test_new_scores_need_the_pulled_embeddings_and_no_embedder(bucket: Bucket, coarse: Clone, tmp_path: Path) -> None:
    other = bucket.colleague(coarse, tmp_path / "other")
    params = other.root / "params.yaml"
    params.write_text(params.read_text().replace("k1: 1.2", "k1: 0.7"))
    output = other.check("dvc", "repro", "--pull", "--allow-missing", TARGET)
    assert stages_run(output) == {"score@sample", "likelihood@sample", "fit_fusion", "order@sample", TARGET}
    assert not (other.root / "models/embedder").exists()


def test_the_run_cache_replaces_runs_that_the_lock_file_does_not_know(
    bucket: Bucket, coarse: Clone, tmp_path: Path
) -> None:
    other = bucket.colleague(coarse, tmp_path / "other")
    (other.root / "dvc.lock").unlink()
    output = other.check("dvc", "repro", "--pull", TARGET)
    # A remote's run-cache has no outs that are in git: what measures runs again, which takes seconds.
    assert stages_run(output) == {TARGET}
    assert output.count("is cached - skipping run") == len(UPSTREAM)
    # As mappings: DVC writes the stages in the order in which it came to them, which differs between runs.
    ours, theirs = (yaml.safe_load((clone.root / "dvc.lock").read_text()) for clone in (coarse, other))
    assert theirs == ours


def test_a_corrupted_object_never_becomes_an_out(bucket: Bucket, coarse: Clone, tmp_path: Path) -> None:
    key = bucket.object_of(coarse, "order@sample")
    whole = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    other = bucket.colleague(coarse, tmp_path / "other")
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=whole[:-1] + b"?")
    done = other.run("dvc", "pull", "order")
    assert done.returncode != 0
    assert "data/orders/sample.parquet" in done.stdout
    assert not (other.root / "data/orders/sample.parquet").exists()
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=whole)
    other.check("dvc", "pull", "order")
    assert (other.root / "data/orders/sample.parquet").read_bytes() == whole


def test_no_key_is_written(bucket: Bucket, coarse: Clone, tmp_path: Path) -> None:
    other = bucket.colleague(coarse, tmp_path / "other")
    config = (other.root / ".dvc/config.local").read_text()
    assert "key" not in config
    assert other.check("git", "status", "--porcelain") == "", "git ignores the local configuration"
    for arguments in (("s3://user:secret@team/memsifter",), ("",)):
        done = other.run("bash", "scripts/remote.sh", *arguments)
        assert (done.returncode, "secret" in done.stdout) == (2, False)
    assert (other.root / ".dvc/config.local").read_text() == config

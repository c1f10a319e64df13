"""`configs/` composes to valid parameters, and `params.yaml` is what the default composes to."""

import itertools
import re
from pathlib import Path

import pytest

from memsifter.datasets.registry import CATALOGUE
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import compose as module
from memsifter.params.compose import compose


@pytest.fixture
def params_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "params.yaml"
    monkeypatch.setattr(module, "PARAMS_FILE", path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return path


def test_the_committed_params_are_the_composed_default(params_file: Path) -> None:
    compose([])
    assert params_file.read_text() == (ROOT / "params.yaml").read_text(), "run `make params` and commit params.yaml"


@pytest.mark.usefixtures("params_file")
@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "configs" / "profile").glob("*.yaml")))
@pytest.mark.parametrize("dataset", sorted(path.stem for path in (ROOT / "configs" / "dataset").glob("*.yaml")))
def test_every_profile_goes_with_every_dataset(profile: str, dataset: str) -> None:
    # The built-in questions are too few for a step of these profiles.
    too_few = profile == "paper" and dataset.startswith("sample")
    too_few |= profile in ("gpu", "learning") and dataset == "sample_small"
    rounds = ["rounds=none"] if too_few else []
    params = compose([f"profile={profile}", f"dataset={dataset}", *rounds])
    assert params.profile == profile
    expected = dataset if dataset in CATALOGUE else dataset.partition("_")[0]
    assert params.matrix.datasets == (expected,)


@pytest.mark.usefixtures("params_file")
def test_several_datasets_at_once() -> None:
    params = compose(["dataset=[sample,longmemeval]", "datasets.longmemeval.path=/data/lme.json"])
    assert params.matrix.datasets == ("sample", "longmemeval")


@pytest.mark.usefixtures("params_file")
def test_results_of_what_left_the_matrix_are_removed(tmp_path: Path) -> None:
    kept = [tmp_path / "results" / method / "sample" for method in ("coarse", "base")]
    stale = [tmp_path / "results" / "coarse" / "locomo", tmp_path / "results" / "round9" / "sample"]
    for folder in (*kept, *stale):
        folder.mkdir(parents=True)
    compose([])
    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in stale)


@pytest.mark.parametrize(("text", "commands_in_it"), [("README.md", 7), ("docs/datasets.md", 2)])
def test_the_commands_of_the_texts_compose(text: str, commands_in_it: int, params_file: Path) -> None:
    readme = (ROOT / text).read_text()
    commands = re.findall(r"^make params( PROFILE=\w+)?(?: ARGS='([^']*)')?(?: &&.*)?$", readme, re.MULTILINE)
    commands += [
        (None, " ".join(re.findall(r"-S '?([^'\s]+)'?", line)))
        for line in re.findall(r"^dvc exp run(?:.|\\\n)*?$", readme.replace("\\\n", " "), re.MULTILINE)
    ]
    assert len(commands) >= commands_in_it
    for profile, overrides in commands:
        # `key=1,2` is a sweep: DVC queues an experiment for each value.
        choices = [_values(override) for override in overrides.split()]
        for chosen in itertools.product(*choices):
            assert compose([*(profile or "").lower().split(), *chosen])
    assert params_file.is_file()


def _values(override: str) -> list[str]:
    key, equals, value = override.partition("=")
    return [override] if "[" in value else [f"{key}{equals}{item}" for item in value.split(",")]


@pytest.mark.parametrize(
    "override", ["rank.max_rankd=5", "+rank.max_rankd=5", "profile=huge", "rank.max_ranked=0", "rank.max_ranked=["]
)
def test_a_wrong_override_leaves_the_file_as_it_was(params_file: Path, override: str) -> None:
    params_file.write_text("before")
    with pytest.raises(MemSifterError):
        compose([override])
    assert params_file.read_text() == "before"
    assert list(params_file.parent.iterdir()) == [params_file]

"""`configs/` composes to valid parameters, and `params.yaml` is what the default composes to."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from memsifter.datasets.registry import CATALOGUE
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import Params
from memsifter.params import compose as module
from memsifter.params.compose import check_current, compose, composed_from, default_values, make_command


@pytest.fixture
def params_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "params.yaml"
    monkeypatch.setattr(module, "PARAMS_FILE", path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return path


def missing_for_dvc(values: dict[str, Any]) -> list[str]:
    """Parameters that dvc.yaml tracks for a stage and that params.yaml does not hold: DVC would refuse to run it."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    missing = []
    for key in {key for stage in stages for key in stage.get("do", stage).get("params", ())}:
        # `datasets.${item.dataset}.kind` stands for a key of every dataset.
        section, entries, rest = key.partition(".${")
        for name in at(values, section.split(".")) if entries else [None]:
            path = section.split(".")
            path += [] if name is None else [name, *rest.partition("}")[2].split(".")[1:]]
            missing += [".".join(path)] if at(values, path) is ... else []
    return missing


def unresolved_items(values: dict[str, Any]) -> list[str]:
    """What dvc.yaml takes of the entries that a stage is multiplied by, and params.yaml does not hold."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    multiplied = {
        name: at(values, stage["foreach"][2:-1].split(".")) for name, stage in stages.items() if "foreach" in stage
    }
    return [
        f"{name}: {key}.{field}"
        for name, entries in multiplied.items()
        if isinstance(entries, dict)
        for key, entry in entries.items()
        for field in re.findall(r"\$\{item\.([\w.]+)\}", json.dumps(stages[name]["do"]))
        if at(entry, field.split(".")) is ...
    ]


def at(values: Any, path: list[str]) -> Any:
    """What stands at a path of keys; `...` where nothing does."""
    for part in path:
        values = values.get(part, ...) if isinstance(values, dict) else ...
    return values


def test_the_committed_params_are_the_composed_default(params_file: Path) -> None:
    compose([])
    assert params_file.read_text() == (ROOT / "params.yaml").read_text(), "run `make params` and commit params.yaml"


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "configs" / "profile").glob("*.yaml")))
@pytest.mark.parametrize("dataset", sorted(path.stem for path in (ROOT / "configs" / "dataset").glob("*.yaml")))
def test_every_profile_goes_with_every_dataset(profile: str, dataset: str, params_file: Path) -> None:
    # The built-in questions are too few for a step of these profiles.
    too_few = profile == "paper" and dataset.startswith("sample")
    too_few |= profile in ("gpu", "learning") and dataset == "sample_small"
    rounds = ["rounds=none"] if too_few else []
    params = compose([f"profile={profile}", f"dataset={dataset}", *rounds])
    assert missing_for_dvc(yaml.safe_load(params_file.read_text(encoding="utf-8"))) == []
    assert params.profile == profile
    expected = dataset if dataset in CATALOGUE else dataset.partition("_")[0]
    assert params.matrix.datasets == (expected, *(["sample_learning"] if dataset == "sample_learning" else []))


@pytest.mark.parametrize("likelihood", sorted(path.stem for path in (ROOT / "configs" / "likelihood").glob("*.yaml")))
def test_every_way_to_read_gives_dvc_what_its_stages_ask_for(likelihood: str, params_file: Path) -> None:
    compose(["dataset=sample_learning", f"likelihood={likelihood}"])
    values = yaml.safe_load(params_file.read_text(encoding="utf-8"))
    assert (missing_for_dvc(values), unresolved_items(values)) == ([], [])


@pytest.mark.usefixtures("params_file")
def test_several_datasets_at_once() -> None:
    params = compose(["dataset=[sample,longmemeval]", "datasets.longmemeval.path=/data/lme.json"])
    assert params.matrix.datasets == ("sample", "longmemeval")


@pytest.mark.usefixtures("params_file")
def test_results_of_what_left_the_matrix_are_removed(tmp_path: Path) -> None:
    kept = [tmp_path / "results" / method / "sample" for method in ("orders", "coarse", "base")]
    stale = [tmp_path / "results" / "orders" / "locomo", tmp_path / "results" / "round9" / "sample"]
    for folder in (*kept, *stale):
        folder.mkdir(parents=True)
        (folder / "metrics.json").touch()
    others = [tmp_path / "results" / name for name in ("notes/mine/figure.svg", "base/.DS_Store")]
    for file in others:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    compose([])
    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in stale)
    assert all(file.is_file() for file in others), "somebody else's, and no results"


@pytest.mark.parametrize(
    ("text", "commands_in_it"), [("README.md", 3), ("docs/datasets.md", 2), ("docs/experiments.md", 6)]
)
def test_the_commands_of_the_texts_compose(text: str, commands_in_it: int, params_file: Path) -> None:
    readme = re.sub(r" +# .*$", "", (ROOT / text).read_text(), flags=re.MULTILINE)
    make = r"^(?:make setup.* && )?make (?:params|repro)( PROFILE=\w+)?(?: ARGS='([^']*)')?(?: &&.*)?$"
    commands = re.findall(make, readme, re.MULTILINE)
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


def _leaves(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {key: value}
    return {path: leaf for name, item in value.items() for path, leaf in _leaves(item, f"{key}.{name}").items()}


def test_the_composed_file_holds_every_parameter_that_has_a_default(params_file: Path) -> None:
    compose(["profile=gpu"])
    defaults = {key for key, value in _leaves(default_values(Params)).items() if value != {}}
    assert len(defaults) > 90
    assert defaults <= _leaves(yaml.safe_load(params_file.read_text())).keys()


def test_dvc_composes_with_the_typed_defaults_by_itself(tmp_path: Path) -> None:
    # A process in which nothing of ours has run, as in `dvc exp run`; no + is needed for what configs/ does not name.
    code = """
import sys
from dvc.config import Config
from dvc.utils.hydra import compose_and_dump
root, target = sys.argv[1:]
hydra = Config(f"{root}/.dvc", validate=True)["hydra"]
folder, plugins = f"{root}/{hydra['config_dir']}", f"{root}/{hydra['plugins_path']}"
compose_and_dump(target, folder, None, hydra["config_name"], plugins, ["rank.batch_size=3"])
"""
    target = tmp_path / "composed.yaml"
    subprocess.run([sys.executable, "-c", code, str(ROOT), str(target)], cwd=tmp_path, check=True)
    rank = yaml.safe_load(target.read_text())["rank"]
    assert (rank["batch_size"], rank["concurrency"]) == (3, 1)


def test_a_composed_file_is_current_until_configs_or_the_file_are_edited(params_file: Path) -> None:
    compose(["profile=smoke", "rank.max_ranked=5"])
    assert composed_from(params_file) == ["profile=smoke", "rank.max_ranked=5"]
    assert check_current().rank.max_ranked == 5
    params_file.write_text(params_file.read_text().replace("  max_ranked: 5", "  max_ranked: 6"))
    with pytest.raises(MemSifterError) as caught:
        check_current()
    message = str(caught.value)
    assert "disagree: rank.max_ranked (6 in params.yaml, 5 in configs/)." in message
    assert "`make params PROFILE=smoke ARGS=rank.max_ranked=5` composes anew" in message
    assert "`make repro PROFILE=smoke ARGS='rank.max_ranked=5 rank.max_ranked=6'`" in message


def test_a_file_without_head_is_compared_with_the_default(params_file: Path) -> None:
    compose([])
    without = "".join(line for line in params_file.read_text().splitlines(keepends=True) if line[0] != "#")
    params_file.write_text(without)
    assert check_current().profile == "local"
    compose(["profile=smoke"])
    params_file.write_text(re.sub("^#.*\n", "", params_file.read_text(), flags=re.MULTILINE))
    with pytest.raises(MemSifterError, match="disagree: ") as caught:
        check_current()
    assert "`make params` composes anew" in str(caught.value)


@pytest.mark.usefixtures("params_file")
@pytest.mark.parametrize("override", ["rank.max_rankd=5", "+rank.max_rankd=5"])
def test_a_misspelt_key_is_told_the_right_one(override: str) -> None:
    with pytest.raises(MemSifterError, match=r"rank\.max_rankd: unknown key; did you mean (rank\.)?max_ranked\?"):
        compose([override])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ('["profile=huge"]', "params.yaml was composed from profile=huge, which configs/ no longer composes"),
        ("[profile=smoke]", "is not a list of texts; run `make params`"),
        ('"profile=smoke"', "is not a list of texts; run `make params`"),
    ],
)
def test_a_head_that_no_longer_composes_is_named(params_file: Path, head: str, expected: str) -> None:
    compose([])
    params_file.write_text(f"# composed: {head}\n" + params_file.read_text())
    with pytest.raises(MemSifterError) as caught:
        check_current()
    assert expected in str(caught.value)


@pytest.mark.parametrize("path", ["/data/my chats.jsonl", "/data/straße.jsonl", "~/chats.jsonl", "/a/(b)$HOME'.jsonl"])
def test_the_command_that_is_printed_gives_the_override_back(path: str, params_file: Path, tmp_path: Path) -> None:
    override = f'datasets.jsonl.path="{path}"'
    # As a user pastes it into a shell: make gives its own shell what it was given.
    (tmp_path / "Makefile").write_text(
        "params:\n\t@python -c 'import json,sys; print(json.dumps(sys.argv[1:]))' $(ARGS)\n"
    )
    shown = make_command("params", ["dataset=jsonl", override])
    done = subprocess.run(["sh", "-c", shown], cwd=tmp_path, capture_output=True, text=True, check=True)
    overrides = json.loads(done.stdout)
    assert overrides == ["dataset=jsonl", override]
    assert compose([*overrides, override.replace(".path", ".watch")]).datasets["jsonl"].watch == path
    assert composed_from(params_file)[1] == override
    check_current()


@pytest.mark.usefixtures("params_file")
@pytest.mark.parametrize("path", ["/data/straße.jsonl", "/data/a~b.jsonl", "/data/(my) chats.jsonl"])
def test_a_path_that_hydra_cannot_read_comes_with_its_remedy(path: str) -> None:
    override = f"datasets.jsonl.path={path}"
    try:
        compose(["dataset=jsonl", override])
    except MemSifterError as error:
        message = str(error)
        assert "is put in quotes" in message
        remedy = message.partition("dvc exp run -S ")[2]
        (quoted,) = shlex.split(remedy)
        assert compose(["dataset=jsonl", quoted, quoted.replace(".path", ".watch")]).datasets["jsonl"].watch == path
    else:
        pytest.fail("Hydra reads it: the remedy is not needed any more")


@pytest.mark.usefixtures("params_file")
@pytest.mark.parametrize(
    "override",
    [
        "chat.base_url=https://me:hunter2@host/v1",
        "chat.base_url=https://host/v1?key=hunter2",
        "tracking.uri=postgresql://me:hunter2@db/mlflow",
        "chat.api_key_env=sk-hunter2",
        "chat.base_url=https://me:hunter2@ß/v1",
        f"seed={'9' * 5000}",
        "rank.max_ranked=" + "[" * 1000,
    ],
)
def test_an_override_that_is_refused_is_short_and_shows_no_secret(override: str) -> None:
    with pytest.raises(MemSifterError) as caught:
        compose([override])
    message = str(caught.value)
    assert "hunter2" not in message
    assert "\n" not in message
    assert len(message) < 2000


def test_a_check_that_fails_leaves_the_file_as_it_was(params_file: Path) -> None:
    def refuse(params: Params) -> None:
        raise MemSifterError(f"no profile {params.profile} here")

    params_file.write_text("before")
    with pytest.raises(MemSifterError, match="no profile smoke here"):
        compose(["profile=smoke"], refuse)
    assert params_file.read_text() == "before"

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT, cache_directory, cache_root
from memsifter.models.references import fingerprint_model
from memsifter.params import ModelParams, load_params
from memsifter.sifter.fit import write_shipped_weights
from memsifter.sifter.models import DEFAULT_EMBEDDER, find_model
from memsifter.sifter.settings import PROMPTS_DIRECTORY, WEIGHTS_FILE, SifterSettings, method_weights


def test_the_default_embedder_is_that_of_the_default_profile() -> None:
    profile = yaml.safe_load((ROOT / "configs" / "profile" / "local.yaml").read_text())["models"]["embedder"]
    assert ModelParams(ref=profile["ref"], sha256=profile["sha256"]) == DEFAULT_EMBEDDER


def test_the_weights_that_ship_are_what_the_command_writes(tmp_path: Path) -> None:
    write_shipped_weights(tmp_path / "weights.json", fit=False)
    assert (tmp_path / "weights.json").read_bytes() == WEIGHTS_FILE.read_bytes()


def test_the_weights_are_those_of_the_method() -> None:
    retrieval = SifterSettings().retrieval
    assert "likelihood" not in method_weights(WEIGHTS_FILE, retrieval).weights
    reading = retrieval.model_copy(update={"fusion": "fitted_likelihood"})
    assert method_weights(WEIGHTS_FILE, reading).weights["likelihood"] > 0


def test_settings_can_be_those_of_a_pipeline() -> None:
    read, params = SifterSettings.read(ROOT / "params.yaml"), load_params()
    for name in ("embed", "retrieval", "rank", "chat", "seed"):
        assert getattr(read, name) == getattr(params, name)
    # The pipeline's workers embed beside each other; the sifter embeds in its own process.
    assert SifterSettings().embed == params.embed.model_copy(update={"workers": 1})


def test_a_folder_is_used_where_it_lies(tiny_embedder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model(tiny_embedder) == tiny_embedder
    monkeypatch.chdir(tiny_embedder.parent)
    assert find_model("embedder") == find_model("path:embedder") == find_model("./embedder") == tiny_embedder


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("no/such", r"no/such: no such folder, and no reference; give a folder, hf:"),
        ("hf:nothing", r"model reference 'hf:nothing' is not understood"),
        ("pypi:x==1#y", r"give the wheel's sha256"),
    ],
)
def test_what_is_no_model_is_refused(reference: str, problem: str) -> None:
    with pytest.raises(MemSifterError, match=problem):
        find_model(reference)


def test_what_a_reference_names_is_fetched_once_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSIFTER_CACHE", str(tmp_path))
    model = find_model("tiny:7")
    assert model.parent == tmp_path / "models"
    before = fingerprint_model(model), (model / "config.json").stat().st_mtime_ns
    assert find_model("tiny:7") == model
    assert (fingerprint_model(model), (model / "config.json").stat().st_mtime_ns) == before


def test_the_cache_can_be_put_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMSIFTER_CACHE", raising=False)
    assert cache_root() == ROOT / ".cache" / "memsifter"
    monkeypatch.setenv("MEMSIFTER_CACHE", str(tmp_path / "mine"))
    assert cache_directory("x") == tmp_path / "mine" / "x"
    assert (tmp_path / "mine" / "x").is_dir()


@pytest.mark.slow
def test_an_installed_package_has_all_that_it_needs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = ("pyproject.toml", "README.md", "LICENSE", "memsifter", "configs/prompts")
    files = subprocess.run(
        ["git", "ls-files", *ignored], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (source / name).symlink_to((ROOT / name).readlink())
        else:
            (source / name).write_bytes((ROOT / name).read_bytes())
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path), "."]
    subprocess.run(wheel, cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(tmp_path / "site")
    assert {path.name for path in (tmp_path / "site" / "memsifter" / "sifter" / "prompts").iterdir()} == {
        path.name for path in PROMPTS_DIRECTORY.glob("*.yaml")
    }
    code = (
        "from memsifter import SifterSettings\n"
        "from memsifter.io.paths import cache_root\n"
        "from memsifter.sifter.settings import PROMPTS_DIRECTORY, WEIGHTS_FILE, method_weights\n"
        "import memsifter\n"
        "weights = method_weights(WEIGHTS_FILE, SifterSettings().retrieval)\n"
        "print(memsifter.__file__, cache_root(), weights.source, len(list(PROMPTS_DIRECTORY.iterdir())))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    environment.pop("MEMSIFTER_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    where = re.escape(str(tmp_path))
    assert re.fullmatch(rf"{where}/site/memsifter/__init__.py {where}/home/memsifter default \d+\n", done.stdout)

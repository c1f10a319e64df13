import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memsifter.errors import MemSifterError
from memsifter.llm.tokens import load_tokenizer
from memsifter.models import prepare_model
from memsifter.params import EmbedParams, load_params
from memsifter.retrieval.encoder import Encoder, EncoderFiles

BASE = EmbedParams(
    model="embedder",
    model_class="encoder-only-base",
    pooling="mean",
    query_instruction="",
    chunk_tokens=64,
    chunk_overlap=16,
    batch_size=2,
    use_fp16=False,
    workers=1,
    cpus_per_worker=1.0,
    gpus_per_worker=0.0,
)
M3 = BASE.model_copy(update={"model_class": "encoder-only-m3", "pooling": "cls"})
TEXTS = ["aa bb cc", "bb", "aa dd dd ee ff"]


def write_model_files(directory: Path, **config: Any) -> Path:
    (directory / "config.json").write_text(json.dumps(config))
    return directory


class AnyLength:
    model_max_length = 10**30


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}, 8192),
    ],
)
def test_the_longest_input_follows_from_the_positions(tmp_path: Path, config: dict[str, Any], limit: int) -> None:
    assert EncoderFiles(write_model_files(tmp_path, **config), BASE).max_tokens(AnyLength) == limit


def test_a_model_that_does_not_tell_its_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="max_position_embeddings"):
        EncoderFiles(write_model_files(tmp_path, model_type="bert"), BASE).max_tokens(AnyLength)


def test_the_fingerprint_follows_weights_and_settings_not_chunks_or_workers(tmp_path: Path) -> None:
    write_model_files(tmp_path, model_type="bert")
    prints = [
        EncoderFiles(tmp_path, BASE.model_copy(update=update)).fingerprint(512)
        for update in ({}, {"chunk_tokens": 32, "workers": 3, "batch_size": 9}, {"pooling": "cls"}, {"use_fp16": True})
    ]
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    prints.append(EncoderFiles(tmp_path, BASE).fingerprint(512))
    prints.append(EncoderFiles(tmp_path, BASE.model_copy(update={"token_vectors": True})).fingerprint(512))
    assert prints[0] == prints[1]
    assert len(set(prints)) == 5


@pytest.mark.slow
def test_m3_gives_vectors_term_weights_and_token_vectors(tiny_m3: Path) -> None:
    tokenizer = load_tokenizer(tiny_m3)
    assert EncoderFiles(tiny_m3, M3).max_tokens(tokenizer) == 32
    encoded = Encoder(str(tiny_m3), M3.model_copy(update={"token_vectors": True}), 32).encode(TEXTS)
    assert encoded.vectors.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, rtol=1e-5)
    for text, row, tokens in zip(TEXTS, encoded.term_weights, encoded.tokens, strict=True):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert {int(token) for token in row} <= set(ids)
        assert tokens.shape == (len(ids) + 1, 16), "a vector per token, and one for the end"
        np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, rtol=1e-5)
    assert any(encoded.term_weights)


def test_an_m3_model_without_a_head_is_refused(tiny_m3: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_m3, tmp_path / "headless", ignore=shutil.ignore_patterns("sparse*.pt")))
    with pytest.raises(MemSifterError, match=r"encoder-only-m3, but .* lacks sparse_linear\.pt; use a model that has"):
        Encoder(str(directory), M3, 32)


@pytest.mark.slow
def test_vectors_equal_those_of_sentence_transformers(tmp_path: Path) -> None:
    directory = tmp_path / "embedder"
    prepare_model(load_params().models["embedder"], directory)
    from sentence_transformers import SentenceTransformer

    texts = ["user: I adopted a beagle", "a", "user: word " * 60]
    encoded = Encoder(str(directory), BASE, 256).encode(texts)
    reference = SentenceTransformer(str(directory), device="cpu")
    reference.max_seq_length = 256
    np.testing.assert_allclose(encoded.vectors, reference.encode(texts, normalize_embeddings=True), atol=1e-6)
    assert encoded.term_weights == [{}, {}, {}]

"""The embedding model: what its files allow, and FlagEmbedding as a class that Ray Data runs in its workers."""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tqdm
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, sha256_json
from memsifter.models.references import fingerprint_model
from memsifter.params import EmbedParams
from memsifter.retrieval.embedding_tables import text_key
from memsifter.retrieval.vectors import KEY, part_schema

_M3_HEADS = ("colbert_linear.pt", "sparse_linear.pt")
_WEIGHTS = pa.list_(pa.float32())
_TOKENS = pa.list_(pa.float16())
_UNSET_LENGTH = 10**9  # transformers writes a larger number where a tokenizer has no limit


@dataclass(frozen=True)
class EncoderFiles:
    """An embedder's directory and the settings it is used with."""

    directory: Path
    params: EmbedParams

    def require_heads(self) -> None:
        """Refuse an M3 model without the heads that give term weights and token vectors.

        FlagEmbedding would leave a missing head random without a word.

        Raises:
            MemSifterError: the file of a head is missing.
        """
        missing = [name for name in _M3_HEADS if not (self.directory / name).is_file()]
        if self.params.model_class == "encoder-only-m3" and missing:
            raise MemSifterError(
                f"embed.model_class is encoder-only-m3, but {self.directory} lacks {' and '.join(missing)}; use a "
                "model that has both (BAAI/bge-m3), or embed.model_class: encoder-only-base, which gives vectors alone"
            )

    def max_tokens(self, tokenizer: Any) -> int:
        """The most tokens, special tokens included, that the model reads.

        Raises:
            MemSifterError: neither the tokenizer nor `config.json` says how many.
        """
        config = read_json(self.directory / "config.json")
        limits = [tokenizer.model_max_length]
        if positions := config.get("max_position_embeddings"):
            # RoBERTa's positions start after the padding id.
            unused = config.get("pad_token_id", 1) + 1 if "roberta" in config.get("model_type", "") else 0
            limits.append(positions - unused)
        if min(limits) > _UNSET_LENGTH:
            raise MemSifterError(f"{self.directory}: config.json needs max_position_embeddings")
        return int(min(limits))

    def fingerprint(self, max_tokens: int) -> str:
        """Hex SHA-256 of everything beside the text that a vector depends on: files, pooling, precision, length."""
        settings = {
            "model": fingerprint_model(self.directory),
            "model_class": self.params.model_class,
            "pooling": self.params.pooling,
            "use_fp16": self.params.use_fp16,
            "max_tokens": max_tokens,
            "normalized": True,
        }
        return sha256_json(settings | ({"tokens": True} if self.params.token_vectors else {}))


@dataclass(frozen=True)
class Encoded:
    """What the model makes of N texts.

    Attributes:
        vectors: float32 [N, D], rows of length 1.
        term_weights: the model's weight of each text's token ids; empty for models that have none.
        tokens: for each text float32 [tokens, D], rows of length 1; nothing where `embed.token_vectors` is off.
    """

    vectors: NDArray[np.float32]
    term_weights: list[dict[str, float]]
    tokens: list[NDArray[np.float32]]


def text_block(texts: Sequence[str]) -> pa.Table:
    """What the encoder reads: columns `key` and `text`."""
    return pa.table({"key": pa.array([text_key(text) for text in texts], KEY), "text": pa.array(texts, pa.string())})


class Encoder:
    """Turns blocks of texts into rows of the vector cache."""

    def __init__(self, directory: str, params: EmbedParams, max_tokens: int) -> None:
        """Load the model onto the worker's GPU, or onto the CPU when the worker has none.

        Args:
            directory: a Hugging Face directory.
            params: model class, pooling, precision, batch size and resources. With a batch size of 1 a vector depends
                on its text alone; in larger batches the neighbours change its last bits.
            max_tokens: longer texts are cut.

        Raises:
            MemSifterError: the files of an M3 model's heads are missing.
        """
        EncoderFiles(Path(directory), params).require_heads()
        import torch
        from FlagEmbedding import FlagAutoModel

        on_gpu = params.gpus_per_worker > 0
        if not on_gpu:
            torch.set_num_threads(max(1, int(params.cpus_per_worker)))
        self._batch_size = params.batch_size
        self._max_tokens = max_tokens
        self._term_weights = params.model_class == "encoder-only-m3"
        self._token_vectors = params.token_vectors
        self._model = FlagAutoModel.from_finetuned(
            directory,
            model_class=params.model_class,
            pooling_method=params.pooling,
            normalize_embeddings=True,
            use_fp16=params.use_fp16,
            devices="cuda:0" if on_gpu else "cpu",
            trust_remote_code=False,
            query_instruction_format="{}{}",
        )

        _hide_progress(self._model)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Embed the texts of a `text_block`; rows of `part_schema`."""
        encoded = self.encode(block["text"].to_pylist())
        dimensions = encoded.vectors.shape[1]
        columns = [
            block["key"].combine_chunks(),
            pa.FixedSizeListArray.from_arrays(pa.array(encoded.vectors.ravel()), dimensions),
            pa.array([[int(token) for token in row] for row in encoded.term_weights], pa.list_(pa.int32())),
            pa.array([[float(weight) for weight in row.values()] for row in encoded.term_weights], _WEIGHTS),
        ]
        if self._token_vectors:
            columns.append(pa.array([tokens.ravel().astype(np.float16) for tokens in encoded.tokens], _TOKENS))
        return pa.table(columns, schema=part_schema(dimensions, self._token_vectors))

    def encode(self, texts: list[str]) -> Encoded:
        """Embed texts; a question comes with its instruction in front."""
        outputs = {"return_sparse": self._term_weights, "return_colbert_vecs": self._token_vectors}
        output: Any = self._model.encode_corpus(
            texts,
            batch_size=self._batch_size,
            max_length=self._max_tokens,
            **{name: True for name, wanted in outputs.items() if wanted},
        )
        if not isinstance(output, dict):
            return Encoded(np.asarray(output, dtype=np.float32), [{} for _ in texts], [])
        tokens = output["colbert_vecs"] if self._token_vectors else []
        return Encoded(np.asarray(output["dense_vecs"], dtype=np.float32), output["lexical_weights"], tokens)


def _hide_progress(model: Any) -> None:
    """Without FlagEmbedding's own bars, which it shows for every block: the caller shows one for all of them."""
    module = sys.modules[type(model).__module__]
    for name in ("tqdm", "trange"):
        if hasattr(module, name):
            setattr(module, name, functools.partial(_without_bar, getattr(tqdm, name)))


def _without_bar(bar: Any, *arguments: Any, **options: Any) -> Any:
    return bar(*arguments, **options | {"disable": True})

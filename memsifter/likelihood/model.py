"""The causal LM that reads: what its files allow, and the log-likelihood of the ends of texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memsifter.errors import MemSifterError
from memsifter.models.adapters import load_causal_lm
from memsifter.models.check import read_config
from memsifter.params import LikelihoodParams

_CAUSAL = ("ForCausalLM", "LMHeadModel")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
_LOGIT_ROWS = 512  # in float32 at the same time


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A text whose last tokens are scored.

    Attributes:
        tokens: all of its tokens.
        scored: how many of them, at the end, are scored; at least one stands before them.
    """

    tokens: tuple[int, ...]
    scored: int


def max_positions(directory: Path) -> int | None:
    """The most tokens that a causal LM reads; None where its configuration sets no limit.

    Raises:
        MemSifterError: the directory does not hold a causal LM.
    """
    config = read_config(directory)
    names = config.get("architectures") or ["no architecture"]
    if not str(names[0]).endswith(_CAUSAL):
        raise MemSifterError(
            f"{directory}: {names[0]} is not a causal LM (…ForCausalLM); set retrieval.likelihood.model to one"
        )
    return next((int(config[name]) for name in _POSITIONS if isinstance(config.get(name), int)), None)


def form_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[range]:
    """Cut texts into batches of at most `batch_tokens` tokens, padding included.

    A batch takes as many texts as its longest allows, so what is left after some whole batches are taken away is cut as
    before: a run that resumes computes the very batches that the interrupted one would have computed.

    Args:
        lengths: tokens of each text, longest first.
        batch_tokens: the bound; a text that is longer has a batch of its own.

    Yields:
        The places of each batch's texts.
    """
    first = 0
    while first < len(lengths):
        end = min(len(lengths), first + max(1, batch_tokens // lengths[first]))
        yield range(first, end)
        first = end


def pad_texts(texts: Sequence[ScoredText], device: str) -> tuple[Any, Any, Any]:
    """Texts as a batch on a device: `tokens`, `owners` and `columns` of `scored_log_probabilities`, text after text."""
    import torch

    tokens = torch.zeros((len(texts), max(len(text.tokens) for text in texts)), dtype=torch.long)
    places = []
    for row, text in enumerate(texts):
        size = len(text.tokens)
        tokens[row, :size] = torch.tensor(text.tokens)
        places += [(row, place) for place in range(size - text.scored, size)]
    owners, columns = torch.tensor(places).unbind(1)
    return tokens.to(device), owners.to(device), columns.to(device)


def scored_log_probabilities(model: Any, tokens: Any, owners: Any, columns: Any) -> Any:
    """Log-probabilities of some tokens, each given those before it in its row.

    The output layer is as wide as the vocabulary: it is given the places whose logits are needed and no others. What an
    architecture does to its logits afterwards (scaling, soft capping) stays part of the model's own pass. Gradients
    flow where the caller lets them.

    Args:
        model: a causal LM of transformers.
        tokens: int64 [rows, width], padded on the right, where a causal model never looks.
        owners: int64 [scored], the row of each token.
        columns: int64 [scored], its place in the row, at least 1.

    Returns:
        float32 [scored], in nats.
    """
    import torch

    def keep_scored(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        # A token's probability is read where the token before it stands.
        return (inputs[0][owners, columns - 1].unsqueeze(0),)

    head = model.get_output_embeddings().register_forward_pre_hook(keep_scored)
    try:
        logits = model(input_ids=tokens, use_cache=False).logits[0]
    finally:
        head.remove()
    targets = tokens[owners, columns]
    # In float32 and in parts: a row of logits is as long as the vocabulary.
    return torch.cat(
        [
            torch.log_softmax(part.float(), dim=-1).gather(1, target.unsqueeze(1)).squeeze(1)
            for part, target in zip(torch.split(logits, _LOGIT_ROWS), torch.split(targets, _LOGIT_ROWS), strict=True)
        ]
    )


class LikelihoodReader:
    """Turns blocks of texts into their log-likelihoods.

    Attributes:
        model: the causal LM, as transformers loads it.
    """

    def __init__(self, directory: str, params: LikelihoodParams) -> None:
        """Load the model onto the worker's GPU, or onto the CPU when the worker has none.

        Args:
            directory: a Hugging Face directory of a causal LM.
            params: number format and resources.
        """
        import torch

        on_gpu = params.gpus_per_worker > 0
        if not on_gpu:
            torch.set_num_threads(max(1, int(params.cpus_per_worker)))
        self._device = "cuda:0" if on_gpu else "cpu"
        self.model = load_causal_lm(Path(directory), params.dtype).to(self._device).eval()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Read one batch: columns `key`, `tokens` and `scored`; gives `key` and `log_likelihood`."""
        columns = (block["tokens"].to_pylist(), block["scored"].to_pylist())
        values = self.score([ScoredText(tuple(tokens), scored) for tokens, scored in zip(*columns, strict=True)])
        return pa.table({"key": block["key"].combine_chunks(), "log_likelihood": pa.array(values)})

    def score(self, texts: Sequence[ScoredText]) -> NDArray[np.float64]:
        """The log-likelihood of the scored tokens of each text, given all that stands before them.

        The texts are one batch. They are padded on the right, where a causal model never looks, so padding needs no
        mask, and a text's neighbours change no more than the last bits of its value (libraries choose their order of
        summation by the shape of what they multiply).

        Args:
            texts: each at most as long as the model reads.

        Returns:
            float64 [texts], the sum over the scored tokens of their log-probabilities (float32), in nats.
        """
        import torch

        tokens, owners, columns = pad_texts(texts, self._device)
        with torch.inference_mode():
            parts = scored_log_probabilities(self.model, tokens, owners, columns)
        values = parts.cpu().numpy().astype(np.float64)
        starts = np.cumsum([0, *(text.scored for text in texts[:-1])])
        sums: NDArray[np.float64] = np.add.reduceat(values, starts)
        return sums

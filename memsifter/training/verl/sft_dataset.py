"""Supervised examples as token ids, for verl's SFT trainer.

verl's own dataset has the template render the response too: it adds a line end behind the turn, and some templates
rewrite the thoughts. Here an example is what reinforcement learning sees: the rendered prompt with the opening of the
assistant's turn, then the response as sampled, then the token that ends the turn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase
from verl.utils.tokenizer import normalize_token_ids
from verl.utils.tokenizer.chat_template import apply_chat_template

from memsifter.errors import MemSifterError
from memsifter.io.files import read_parquet

_CONTENT = "\u2603"  # in no template


class SftDataset(Dataset[dict[str, torch.Tensor]]):
    """Rows of `messages`, the last of them the assistant's, which alone is learnt.

    Args:
        parquet_files: with a column `messages`.
        tokenizer: with a chat template.
        config: verl's `data` section; `max_length` bounds an example.
        processor: of images; verl passes it, text needs none.
        max_samples: verl passes it; all rows are used.
    """

    def __init__(
        self,
        parquet_files: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        config: Any,
        processor: object = None,  # noqa: ARG002 - verl's signature
        max_samples: int = -1,  # noqa: ARG002
    ) -> None:
        tables = [read_parquet(path, ["messages"]) for path in map(Path, parquet_files)]
        self._conversations = [messages for table in tables for messages in table["messages"].to_pylist()]
        self._tokenizer = tokenizer
        self._max_length: int = config.max_length
        self._end = end_of_turn(tokenizer)

    def __len__(self) -> int:
        return len(self._conversations)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """`input_ids`, `position_ids` and `loss_mask`, each (tokens,) int64; the mask is 1 on the response."""
        *prompt, answer = self._conversations[index]
        prompt_ids = normalize_token_ids(apply_chat_template(self._tokenizer, prompt, add_generation_prompt=True))
        response_ids = [*self._tokenizer.encode(answer["content"], add_special_tokens=False), self._end]
        length = len(prompt_ids) + len(response_ids)
        if length > self._max_length:
            raise MemSifterError(
                f"example {index} has {length} tokens, more than rank.context_tokens + rank.max_tokens "
                f"({self._max_length}); write the RL data anew (dvc repro prepare_rl)"
            )
        return {
            "input_ids": torch.tensor(prompt_ids + response_ids),
            "position_ids": torch.arange(length),
            "loss_mask": torch.tensor([0] * len(prompt_ids) + [1] * len(response_ids)),
        }


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token with which the assistant ends its turn: the first that the chat template writes behind its message.

    Raises:
        MemSifterError: the template writes nothing there.
    """
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _CONTENT}]
    closing = str(tokenizer.apply_chat_template(messages, tokenize=False)).rpartition(_CONTENT)[2].strip()
    ids: list[int] = tokenizer.encode(closing, add_special_tokens=False) if closing else []
    if not ids:
        raise MemSifterError(f"{tokenizer.name_or_path}: the chat template does not end the assistant's turn")
    return ids[0]

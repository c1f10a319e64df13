"""Counting and cutting text in a model's tokens, each distinct text once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from memsifter.errors import MemSifterError
from memsifter.llm.prompts import Message

_BATCH = 256
_MESSAGE_OVERHEAD = 8  # role and control tokens of one message, where the tokenizer has no chat template to ask


class Tokenizer(Protocol):
    """The part of a fast Hugging Face tokenizer that is used here."""

    is_fast: bool
    chat_template: str | None

    def __call__(self, text: Sequence[str], **kwargs: Any) -> Any:
        """Encode a batch of texts."""

    def apply_chat_template(self, conversation: Sequence[Message], **kwargs: Any) -> Any:
        """Render messages to one text."""


@dataclass(frozen=True, slots=True)
class CountedText:
    """A text and its number of tokens, special tokens not included."""

    text: str
    tokens: int


def cut_texts(texts: Mapping[str, str], tokenizer: Tokenizer, limit: int | None) -> dict[str, CountedText]:
    """Cut each text to its first `limit` tokens, at a character boundary, and count its tokens.

    Args:
        texts: text by key, for instance by session key, so that equal sessions are tokenized once.
        tokenizer: a fast tokenizer.
        limit: the most tokens to keep; None keeps all.

    Returns:
        For each key, in the same order, a prefix of its text that encodes to at most `limit` tokens.

    Raises:
        MemSifterError: the tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise MemSifterError("the model's tokenizer cannot map tokens to text; it needs a tokenizer.json")
    counted: dict[str, CountedText] = {}
    items = list(texts.items())
    for start in range(0, len(items), _BATCH):
        counted.update(_cut_batch(dict(items[start : start + _BATCH]), tokenizer, limit))
    return counted


def load_tokenizer(model: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory. Code in the directory is not run.

    Raises:
        MemSifterError: the directory holds no tokenizer, or not a fast one.
    """
    # Imported here: transformers takes seconds, and not everybody who counts tokens loads a tokenizer.
    from transformers import AutoTokenizer

    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise MemSifterError(f"{model}: cannot load its tokenizer ({' '.join(str(error).split())[:200]})") from error
    if not tokenizer.is_fast:
        raise MemSifterError(f"{model}: its tokenizer cannot map tokens to text; it needs a tokenizer.json")
    return tokenizer


def encode_prompt(prompt: str | Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Token ids of a whole prompt: a plain text, or messages in the model's chat template with the generation prompt.

    Raises:
        MemSifterError: messages, but the model has no chat template.
    """
    if isinstance(prompt, str):
        return list(tokenizer([prompt]).input_ids[0])
    if not tokenizer.chat_template:
        raise MemSifterError("the model's tokenizer has no chat template; use an instruct model")
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return list(tokenizer([text], add_special_tokens=False).input_ids[0])


def count_prompt(prompt: str | Sequence[Message], tokenizer: Tokenizer) -> int:
    """Tokens of a whole prompt; without a chat template to ask, an upper estimate."""
    if isinstance(prompt, str) or tokenizer.chat_template:
        return len(encode_prompt(prompt, tokenizer))
    contents = tokenizer([message["content"] for message in prompt], add_special_tokens=False).input_ids
    return sum(len(ids) + _MESSAGE_OVERHEAD for ids in contents)


def _cut_batch(texts: dict[str, str], tokenizer: Tokenizer, limit: int | None) -> dict[str, CountedText]:
    counted = dict.fromkeys(texts, CountedText("", 0))
    todo = dict(texts)
    # A cut text can encode differently at its new end, so it is counted again, and cut again in the rare case.
    while todo:
        encoded = tokenizer(
            list(todo.values()), add_special_tokens=False, return_offsets_mapping=limit is not None, verbose=False
        )
        too_long: dict[str, str] = {}
        for row, (key, text) in enumerate(todo.items()):
            tokens = len(encoded.input_ids[row])
            if limit is None or tokens <= limit:
                counted[key] = CountedText(text, tokens)
            else:
                # Where the first token too many starts: a character that is split over tokens is left out whole.
                too_long[key] = text[: encoded.offset_mapping[row][limit][0]]
        todo = too_long
    return counted

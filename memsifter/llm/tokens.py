"""A model's tokenizer: cutting and counting text, and what its chat template makes of a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jinja2 import TemplateError

from memsifter.errors import MemSifterError
from memsifter.llm.prompts import Message, MessagesKind

_BATCH = 256
_MESSAGE_OVERHEAD = 8  # role and control tokens of one message, where the tokenizer has no chat template to ask
_THINK = "<think>"


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


def fold_system(prompt: MessagesKind, tokenizer: Tokenizer) -> MessagesKind:
    """The prompt file as the model's chat template can show it.

    Some templates refuse a system message and some leave it out silently; there, the system text is put before the
    user's.
    """
    if not prompt.system or not tokenizer.chat_template:
        return prompt
    probe = "system-probe"
    try:
        shown = _render([Message(role="system", content=probe), Message(role="user", content="user")], tokenizer)
    except MemSifterError:
        shown = ""
    if probe in shown:
        return prompt
    return prompt.model_copy(update={"system": "", "user": f"{prompt.system}\n\n{prompt.user}"})


def encode_prompt(prompt: str | Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Token ids of a whole prompt: a plain text, or messages in the model's chat template with the generation prompt.

    Raises:
        MemSifterError: messages, but the model has no chat template, or its template refuses them.
    """
    if isinstance(prompt, str):
        return list(tokenizer([prompt]).input_ids[0])
    return list(tokenizer([_render(prompt, tokenizer)], add_special_tokens=False).input_ids[0])


def count_prompt(prompt: str | Sequence[Message], tokenizer: Tokenizer) -> int:
    """Tokens of a whole prompt; without a chat template to ask, an upper estimate."""
    if isinstance(prompt, str) or tokenizer.chat_template:
        return len(encode_prompt(prompt, tokenizer))
    contents = tokenizer([message["content"] for message in prompt], add_special_tokens=False).input_ids
    return sum(len(ids) + _MESSAGE_OVERHEAD for ids in contents)


def opened_thought(tokenizer: Tokenizer) -> str:
    """What the chat template has already written of the thoughts when the model begins: `<think>` and what follows.

    The templates of some reasoning models end with `<think>`, or with an empty thought where thinking is off. The model
    writes only the rest, so this and its output together are what the format is about. "" for other templates.
    """
    if not tokenizer.chat_template:
        return ""
    messages = [Message(role="user", content="user")]
    prompt = _render(messages, tokenizer)
    asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    _, tag, opened = prompt.removeprefix(asked).rpartition(_THINK)
    return tag + opened if tag and prompt.startswith(asked) else ""


def _render(messages: Sequence[Message], tokenizer: Tokenizer) -> str:
    if not tokenizer.chat_template:
        raise MemSifterError("the model's tokenizer has no chat template; use an instruct model")
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise MemSifterError(f"the model's chat template refuses messages of the roles {roles}: {error}") from error


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

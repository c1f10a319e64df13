"""Prompt files: `configs/prompts/<name>.yaml`, validated when loaded, filled in one pass.

A template names its placeholders as `{question}`. Every other brace is text, so JSON in a prompt needs no escaping, and
because filling is one pass, braces inside a session or a question stay text too.

What a prompt shows of somebody's data goes through `plain_text` first: a stored `<|im_end|>` must not end the turn that
shows it. The text is changed rather than encoded in another way, because an endpoint and verl are sent messages and
encode them on their own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT

PROMPTS_DIRECTORY = ROOT / "configs" / "prompts"
UNKNOWN_DATE = "date unknown"
SESSION_SEPARATOR = "\n\n"
_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_CONTROL = re.compile(
    r"""<(?=/?(?i:
            \|[^\s<>]{0,64}\|                               # <|im_end|> of ChatML, Llama 3, Phi
          | \uff5c[^\s<>]{0,64}\uff5c                       # the same with full-width bars (DeepSeek)
          | [a-z]{1,32}(?:_[a-z0-9]{1,32}){1,4}             # <start_of_turn> of Gemma, <repo_name>
          | s|bos|eos|pad|unk|cls|sep|mask|reponame|filename
          | think|ranking|answer                            # our own formats: an echo is not an output
        )>)
      | \[(?=/?(?:INST|CLS|SEP|PAD|UNK|MASK|gMASK|[A-Z]{1,32}(?:_[A-Z]{1,32}){1,4})\])""",
    re.VERBOSE,
)

Message = dict[str, str]
"""One chat message: `role` and `content`."""


class PromptFile(BaseModel):
    """Base of all prompt kinds: unknown keys are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MessagesPrompt(PromptFile):
    """Base of prompt kinds that become a system message, empty where none is sent, and a user message."""

    system: str
    user: str


PromptKind = TypeVar("PromptKind", bound=PromptFile)
MessagesKind = TypeVar("MessagesKind", bound=MessagesPrompt)


@dataclass(frozen=True)
class _Placeholders:
    required: frozenset[str]
    optional: frozenset[str]

    def __call__(self, template: str) -> str:
        named = set(_PLACEHOLDER.findall(template))
        if missing := sorted(self.required - named):
            raise ValueError(f"placeholder {{{missing[0]}}} is missing")
        if unknown := sorted(named - self.required - self.optional):
            allowed = ", ".join(f"{{{name}}}" for name in sorted(self.required | self.optional)) or "none"
            raise ValueError(f"unknown placeholder {{{unknown[0]}}}; allowed: {allowed}")
        return template


def placeholders(*required: str, optional: tuple[str, ...] = ()) -> AfterValidator:
    """A pydantic check for a template field: all `required` placeholders, none but these and the `optional` ones."""
    return AfterValidator(_Placeholders(frozenset(required), frozenset(optional)))


SessionTemplate = Annotated[str, placeholders("text", optional=("date",))]
"""How one session of a context is shown."""


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace every `{name}` by its value in one pass; inserted text is never looked at again."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def chat_messages(system: str, user: str) -> list[Message]:
    """The messages of a prompt; an empty system text is not sent."""
    message = Message(role="user", content=user)
    return [Message(role="system", content=system), message] if system else [message]


def plain_text(text: str) -> str:
    """The text with a space in whatever could be read as a control token or an output tag: `< |im_end|>`.

    Tokens that are known to delimit turns, and the tags of the ranker's and the working LLM's output, lose their
    meaning; all other text, HTML included, stays as it is. Applying it twice changes nothing more.
    """
    return _CONTROL.sub(r"\g<0> ", text)


def prompt_path(name: str) -> Path:
    """The file of a prompt named in params.yaml."""
    return PROMPTS_DIRECTORY / f"{name}.yaml"


def load_prompt(path: Path, kind: type[PromptKind]) -> PromptKind:
    """Read and validate a prompt file.

    Args:
        path: a YAML file, usually `prompt_path(name)`.
        kind: the prompt class, which says what fields and placeholders the file must have.

    Raises:
        MemSifterError: the file is missing or not YAML, or a field is missing, unknown or wrong; the message names the
            file and every wrong key.
    """
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise MemSifterError(f"{path}: no such prompt; prompts there: {names}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MemSifterError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [(".".join(map(str, problem["loc"])), problem["msg"]) for problem in error.errors()]
        described = "; ".join(f"{key or 'file'}: {text.removeprefix('Value error, ')}" for key, text in problems)
        raise MemSifterError(f"{path}: {described}") from error

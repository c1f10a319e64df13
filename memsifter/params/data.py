"""Models and datasets: where they come from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memsifter.corpus.sessions import Split
from memsifter.params.base import Count, Fraction, Section

Kind = Literal["chat", "deep_research"]
KINDS: tuple[Kind, ...] = ("chat", "deep_research")


class ModelParams(Section):
    """Where a model comes from (see `memsifter.models.references`).

    `watch` is a file or folder whose change makes DVC prepare the model again; for `path:` that very path.
    """

    ref: Annotated[str, Field(min_length=1)]
    """A folder, a model of a hub, or one that comes with a package: `path:…`, `hf:…@revision`, and others."""
    watch: str = ""
    """File or folder whose change makes DVC read it again; for a local path that very path."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """Hash that it must have; null: not checked."""


class DatasetParams(Section):
    """Fields that every reader has.

    `watch` is a file whose change makes DVC read the dataset again; for a local `path` that very path.
    `train_haystacks` are haystack ids whose questions form the train split.
    """

    watch: str = ""
    """File or folder whose change makes DVC read it again; for a local path that very path."""
    kind: Kind = "chat"
    """Which prompts fit: `chat` or `deep_research`."""
    train_haystacks: tuple[str, ...] = ()
    """Ids of the haystacks whose questions are for training, whatever their split is otherwise."""


class SampleParams(DatasetParams):
    """The built-in synthetic dataset (see `memsifter.datasets.sample`)."""

    reader: Literal["sample"]
    """The layout of the source."""
    seed: int
    """Seed of the generator."""
    haystacks: Count
    """Conversation histories."""
    sessions: Annotated[int, Field(ge=8)]
    """Sessions of each haystack."""
    questions: Annotated[int, Field(ge=4)]
    """Questions of each haystack."""
    train_fraction: Fraction
    """Share of the haystacks whose questions are for training."""


class FileDatasetParams(DatasetParams):
    """A dataset read from files.

    Given are a local `path` (a file, or the folder of a source of several files), or a `url` that is downloaded and
    checked against `sha256`, or neither: then the dataset's name is looked up in `memsifter.datasets.catalogue`.
    """

    reader: str
    """The layout of the source."""
    path: str | None = None
    """A file, or the folder of a source of several files; relative to the repository."""
    url: str | None = None
    """Where the file is downloaded from, http or https."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash that the file must have; required for a `url`."""
    split: Split = "test"
    """Split of questions that do not name theirs."""

    @model_validator(mode="after")
    def _one_source(self) -> "FileDatasetParams":
        if self.path is not None and self.url is not None:
            raise ValueError("give exactly one of path and url, or neither for a benchmark of the catalogue")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs its sha256")
        return self


class LocomoParams(FileDatasetParams):
    """LoCoMo's raw layout. `categories`: the ones to keep (5 is adversarial: most have no answer)."""

    reader: Literal["locomo"]
    """The layout of the source."""
    categories: tuple[Annotated[int, Field(ge=1, le=5)], ...]
    """Categories of questions to keep, 1 to 5."""


class LongMemEvalParams(FileDatasetParams):
    """LongMemEval's official JSON layout.

    `train_fraction` of the questions, drawn with `split_seed` as the paper's authors drew theirs (.7 with 42), form the
    train split; null: all are of `split`.
    """

    reader: Literal["longmemeval"]
    """The layout of the source."""
    train_fraction: Fraction | None = None
    """Share of the questions that are for training; null: all are of `split`."""
    split_seed: int = 42
    """Seed of the draw of these questions."""


class FlatParams(FileDatasetParams):
    """The flat layout of the published MemSifter data, Parquet, JSON or JSON lines; or a folder of train and test."""

    reader: Literal["flat"]
    """The layout of the source."""


class PersonaMemParams(FileDatasetParams):
    """PersonaMem v1: a folder with `questions*.csv` and `shared_contexts*.jsonl`."""

    reader: Literal["personamem"]
    """The layout of the source."""


class PersonaMemV2Params(FileDatasetParams):
    """PersonaMem v2: a folder with `benchmark*.csv` and the chat histories that it links to."""

    reader: Literal["personamem_v2"]
    """The layout of the source."""
    history: Literal["32k", "128k"]
    """Length of the chat histories, in tokens."""


class PerLtqaParams(FileDatasetParams):
    """PerLTQA: a folder with `perltqa*.json` and `perltmem*.json`."""

    reader: Literal["perltqa"]
    """The layout of the source."""


class HotpotQaParams(FileDatasetParams):
    """HotpotQA: questions with their paragraphs."""

    reader: Literal["hotpotqa"]
    """The layout of the source."""


class TrajectoryParams(FileDatasetParams):
    """Browsing trajectories as message lists (WebDancer, MiroVerse's WebWalkerQA).

    A haystack holds the steps of `per_haystack` trajectories.
    """

    reader: Literal["trajectory"]
    """The layout of the source."""
    per_haystack: Count = 20
    """Trajectories whose steps form one haystack."""


class JsonlParams(FileDatasetParams):
    """A user's own conversations, one JSON object per line (see `memsifter.datasets.jsonl`)."""

    reader: Literal["jsonl"]
    """The layout of the source."""


class ChatMlParams(FileDatasetParams):
    """Exported OpenAI-style message lists, split into sessions where nothing was said for `session_gap_minutes`."""

    reader: Literal["chatml"]
    """The layout of the source."""
    session_gap_minutes: Annotated[float, Field(gt=0)] = 60.0
    """Minutes of silence after which a new session begins."""


AnyDatasetParams = Annotated[
    SampleParams
    | LocomoParams
    | LongMemEvalParams
    | FlatParams
    | PersonaMemParams
    | PersonaMemV2Params
    | PerLtqaParams
    | HotpotQaParams
    | TrajectoryParams
    | JsonlParams
    | ChatMlParams,
    Field(discriminator="reader"),
]


class DataParams(Section):
    """How datasets are read. `on_error`: what is refused ends the stage, or is left out, counted and listed."""

    on_error: Literal["fail", "report"]
    """What is refused ends the stage (`fail`), or is left out, counted and listed (`report`)."""

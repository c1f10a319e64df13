"""What was run: profile, code, models, data, rounds, and every parameter."""

from dataclasses import dataclass

from memsifter.io.files import read_json
from memsifter.io.paths import dataset_directory
from memsifter.params import Params
from memsifter.tracking.lineage import read_revision
from memsifter.tracking.values import flatten_params


@dataclass(frozen=True)
class ModelRow:
    """A model, where it comes from, and what it is used for."""

    name: str
    source: str
    use: str


@dataclass(frozen=True)
class DatasetRow:
    """A dataset as the data stage counted it."""

    name: str
    reader: str
    haystacks: int
    sessions: int
    questions: int
    evaluated: int


@dataclass(frozen=True)
class Overview:
    """The run as a reader needs it to place the figures. `revision` is None without Git."""

    profile: str
    revision: str | None
    models: tuple[ModelRow, ...]
    datasets: tuple[DatasetRow, ...]
    params: dict[str, str]


def describe_run(params: Params) -> Overview:
    """Read what was run.

    Raises:
        MemSifterError: a dataset of `matrix.datasets` was not written.
    """
    revision = read_revision()
    return Overview(
        profile=params.profile,
        revision=str(revision) if revision else None,
        models=tuple(_models(params)),
        datasets=tuple(_dataset(params, name) for name in params.matrix.datasets),
        params=flatten_params(params),
    )


def _models(params: Params) -> list[ModelRow]:
    uses: dict[str, list[str]] = {name: [] for name in (*params.models, *params.rounds)}
    uses[params.embed.model].append("embedder")
    for ranker in params.matrix.rankers:
        uses[ranker].append("ranker")
    if params.chat.base_url == "local":
        uses[params.chat.local_model].append("working LLM")
    sources = {name: model.ref for name, model in params.models.items()}
    sources |= {
        name: f"{item.start_from}, trained for {params.train.steps} steps" for name, item in params.rounds.items()
    }
    rows = [ModelRow(name, sources[name], ", ".join(use)) for name, use in uses.items() if use]
    if params.chat.base_url != "local":
        rows.append(ModelRow(params.chat.model, params.chat.base_url, "working LLM"))
    return rows


def _dataset(params: Params, name: str) -> DatasetRow:
    report = read_json(dataset_directory(name) / "report.json")
    return DatasetRow(
        name=name,
        reader=params.datasets[name].reader,
        haystacks=report["haystacks"],
        sessions=report["unique_sessions"],
        questions=report["questions"],
        evaluated=report["questions_by_split"].get(params.evaluate.split, 0),
    )

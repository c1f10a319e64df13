"""What was run and what it cost: models, data, parameters; requests to language models, their tokens, seconds."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, read_parquet
from memsifter.io.paths import answers_file, dataset_directory, rankings_file
from memsifter.params import Params
from memsifter.tracking.completion import read_durations
from memsifter.tracking.lineage import read_revision, read_stages
from memsifter.tracking.values import flatten_params

logger = logging.getLogger(__name__)


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
    uses: dict[str, list[str]] = {
        name: [] for name in (*params.models, *params.retrieval.likelihood.fits, *params.rounds)
    }
    uses[params.embed.model].append("embedder")
    for ranker in params.matrix.rankers:
        uses[ranker].append("ranker")
    if params.chat.base_url == "local":
        uses[params.chat.local_model].append("working LLM")
    reading = params.retrieval.likelihood
    if reading.datasets:
        uses[reading.model].append("reader of the likelihood")
    sources = {name: model.ref for name, model in params.models.items()}
    sources |= {name: f"{fit.model}, trained for the likelihood" for name, fit in reading.fits.items()}
    sources |= {
        name: f"{item.start_from}, trained for {params.train.steps} steps" for name, item in params.rounds.items()
    }
    rows = [ModelRow(name, sources[name], ", ".join(use)) for name, use in uses.items() if use]
    if params.chat.base_url != "local":
        rows.append(ModelRow(params.chat.model, params.chat.base_url, "working LLM"))
    if judge := params.evaluate.judge:
        rows.append(ModelRow(judge.model, judge.base_url, "judge of the answers"))
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


@dataclass(frozen=True)
class Usage:
    """Requests to a language model and their tokens."""

    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class StageCost:
    """One stage. `usage` is None where no language model is used, `seconds` None where no run is on record."""

    stage: str
    seconds: float | None
    usage: Usage | None


def measure_cost(params: Params) -> list[StageCost]:
    """Every stage of the pipeline, in the order of dvc.yaml.

    Raises:
        MemSifterError: rankings or answers are missing.
    """
    stages = read_stages()
    try:
        seconds: Mapping[str, float] = read_durations(params, stages)
    except MemSifterError as error:  # the page says which figures it lacks; the others are worth showing
        logger.warning("no durations: %s", error)
        seconds = {}
    usages = _usages(params)
    return [StageCost(name, seconds.get(name), usages.get(name)) for name in stages]


def _usages(params: Params) -> dict[str, Usage]:
    usages = {}
    for ranker in params.matrix.rankers:
        for dataset in params.matrix.datasets:
            usages[f"rank@{ranker}-{dataset}"] = _sum(rankings_file(ranker, dataset), "response_tokens")
            usages[f"chat@{ranker}-{dataset}"] = _sum(answers_file(ranker, dataset), "completion_tokens")
    return usages


def _sum(path: Path, completion: str) -> Usage:
    table = read_parquet(path, ["prompt_tokens", completion])
    # An endpoint may not say how many tokens it used: no value to add.
    tokens = [pc.sum(table[name], min_count=0).as_py() for name in ("prompt_tokens", completion)]
    return Usage(table.num_rows, *tokens)

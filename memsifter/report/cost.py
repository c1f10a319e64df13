"""What it cost: requests to the language models, their tokens, and seconds per stage."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from memsifter.errors import MemSifterError
from memsifter.io.files import read_parquet
from memsifter.io.paths import answers_file, rankings_file
from memsifter.params import Params
from memsifter.tracking.lineage import read_stages
from memsifter.tracking.record import read_durations

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Usage:
    """Requests to a language model and the tokens that they had and got."""

    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class StageCost:
    """One stage. `usage` is None where no language model is asked, `seconds` None where no run is on record."""

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
        seconds: Mapping[str, float] = read_durations(params, stages.values())
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
    return Usage(table.num_rows, pc.sum(table["prompt_tokens"]).as_py(), pc.sum(table[completion]).as_py())

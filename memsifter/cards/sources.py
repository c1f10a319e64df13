"""Where the training data of a round comes from."""

import json
from dataclasses import dataclass

from memsifter.params import AnyDatasetParams, Params
from memsifter.tracking.values import mask_credentials


@dataclass(frozen=True)
class DataSource:
    """A dataset of a round's recipe: what reads it, from where, and how many questions the round asked for."""

    name: str
    reader: str
    origin: str
    train: int
    test: int


def describe_sources(params: Params, round_name: str) -> list[DataSource]:
    """The datasets that a round draws from, in recipe order."""
    recipe = params.rounds[round_name].recipe
    return [
        DataSource(name, params.datasets[name].reader, _origin(params.datasets[name]), draw.train, draw.test)
        for name, draw in recipe.items()
    ]


def _origin(dataset: AnyDatasetParams) -> str:
    """What identifies the source: its file and hash, or the settings that generate it."""
    settings = dataset.model_dump(mode="json", exclude={"reader", "watch", "kind"}, exclude_defaults=True)
    return mask_credentials(json.dumps(settings, ensure_ascii=False))

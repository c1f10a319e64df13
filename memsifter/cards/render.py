"""The cards of a round: where its training data come from, how its model was trained, and what that gained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from memsifter.io.display import markdown_code, mask_credentials
from memsifter.params import AnyDatasetParams, Params

CARD_FILE = "README.md"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class DataSource:
    """A dataset of a round's recipe: its reader, its source, and how many questions the round takes."""

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
    settings = dataset.model_dump(mode="json", exclude={"reader", "watch", "kind"}, exclude_unset=True)
    return mask_credentials(json.dumps(settings, ensure_ascii=False))


def render_model_card(
    params: Params,
    round_name: str,
    checkpoints: Sequence[str],
    validation: Mapping[str, Any],
    lineage: Mapping[str, str],
) -> str:
    """The card of a trained ranker.

    Args:
        params: all parameters; those that it uses are parameters of the merge stage.
        round_name: the ranker.
        checkpoints: names of the merged checkpoints.
        validation: `validation.json` of the round.
        lineage: MD5 by path, from `memsifter.tracking.lineage.read_lineage`.
    """
    training_round = params.rounds[round_name]
    metadata = ModelCardData(
        base_model=_base_of(params, round_name),
        datasets=list(training_round.recipe),
        pipeline_tag="text-generation",
        library_name="transformers",
        tags=["memsifter", "session-ranking"],
    )
    return _render(
        "model_card.md",
        metadata=metadata.to_yaml(),
        name=round_name,
        round=training_round,
        train=params.train,
        reward=params.reward,
        working_llm=_working_llm(params),
        base=_base_of(params, round_name),
        starts_from_round=training_round.start_from in params.rounds,
        dtype=params.merge.dtype,
        weights=params.merge.weights,
        checkpoints=checkpoints,
        validation=validation,
        sources=describe_sources(params, round_name),
        lineage=lineage,
    )


def render_adapter_card(params: Params, name: str, questions: int, losses: Sequence[float]) -> str:
    """The card of a model trained for the likelihood score.

    Args:
        params: all parameters; those that it uses are parameters of the fit_likelihood stage.
        name: the model.
        questions: how many train questions there were.
        losses: of each step.
    """
    fit = params.retrieval.likelihood.fits[name]
    base = mask_credentials(params.models[fit.model].ref)
    metadata = ModelCardData(
        base_model=base, datasets=list(fit.datasets), library_name="peft", tags=["memsifter", "session-ranking", "lora"]
    )
    tenth = max(1, len(losses) // 10)
    return _render(
        "adapter_card.md",
        metadata=metadata.to_yaml(),
        name=name,
        fit=fit,
        base=base,
        reading=params.retrieval.likelihood,
        sources=[
            (dataset, params.datasets[dataset].reader, _origin(params.datasets[dataset])) for dataset in fit.datasets
        ],
        questions=questions if fit.questions is None else min(questions, fit.questions),
        steps=len(losses),
        first=sum(losses[:tenth]) / tenth,
        last=sum(losses[-tenth:]) / tenth,
    )


def render_data_card(params: Params, round_name: str, report: Mapping[str, Any]) -> str:
    """The card of a round's RL data.

    Args:
        params: all parameters; those that it uses are parameters of the prepare_rl stage.
        round_name: the round.
        report: `report.json` of the data.
    """
    metadata = DatasetCardData(
        task_categories=["text-ranking"],
        tags=["memsifter"],
        configs=[
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train_*.parquet"},
                    {"split": "test", "path": "test.parquet"},
                ],
            }
        ],
    )
    return _render(
        "data_card.md",
        metadata=metadata.to_yaml(),
        name=round_name,
        round=params.rounds[round_name],
        report=report,
        sources=describe_sources(params, round_name),
    )


def _base_of(params: Params, name: str) -> str:
    """The reference of the model that a chain of rounds starts from."""
    while name in params.rounds:
        name = params.rounds[name].start_from
    return mask_credentials(params.models[name].ref)


def _working_llm(params: Params) -> str:
    if params.chat.base_url == "local":
        return mask_credentials(params.models[params.chat.local_model].ref)
    return f"{params.chat.model} at {mask_credentials(params.chat.base_url)}"


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown; what others wrote goes through the filter `code`
    )
    environment.filters["code"] = markdown_code
    return environment.get_template(template).render(**values)

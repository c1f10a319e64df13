"""What all sections of the parameters share."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Method = Literal["dense", "lexical", "hand_weighted", "fitted"]
"""The ways to order sessions by their coarse scores: `memsifter.fusion.combine`."""

METHODS: tuple[Method, ...] = get_args(Method)
# Methods that `results` holds beside the rankers, and folders that `models` holds beside the models.
_RESERVED = ("coarse", *METHODS, "checkpoints", "collected")


def _check_reserved(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(f"{name} is reserved; choose another name")
    return name


# No dots: DVC and Hydra read them as paths.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$"), AfterValidator(_check_reserved)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of `params.yaml`: unknown keys are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

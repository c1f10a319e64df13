"""What all sections of the parameters share: the base class, and types that several fields have."""

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Method = Literal["dense", "lexical", "hand_weighted", "fitted", "fitted_likelihood"]
"""The ways to order sessions by their coarse scores: `memsifter.fusion.combine`. The last one is there only for the
datasets of `retrieval.likelihood.datasets`."""

METHODS: tuple[Method, ...] = get_args(Method)
ORDERS: tuple[str, ...] = ("coarse", *METHODS)
"""The orders of stage `order`: that of the method which `retrieval.fusion` names, and that of each method."""

View = Literal["whole", "head", "excerpt"]
"""What of a session a model is shown: all of it, its first tokens, or the windows of turns that answer a question best:
`memsifter.retrieval.excerpts`."""

# Folders that `results` holds beside the rankers', and `models` beside the models.
_RESERVED = ("orders", "checkpoints", "collected")
_LONGEST_PLAIN_WORD = 15


class Section(BaseModel):
    """A section of `params.yaml`: unknown keys are refused, nothing is converted, numbers are finite.

    The string under a field is its documentation: unit, range and effect (`docs/parameters.md` is made from it).
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _check_reserved(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(f"{name} is reserved; choose another name")
    return name


def _check_no_secret(url: str) -> str:
    """A URL without password and query string: parameters are written to params.yaml, dvc.lock and MLflow.

    The messages never repeat the URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is not a URL") from None
    if "@" in parts.netloc:
        raise ValueError("holds a user or password, which would be written to files; give keys in the environment")
    if parts.query or parts.fragment:
        raise ValueError("holds a query string (?…), where keys travel and are written to files; leave it out")
    return url


def _check_http(url: str) -> str:
    _check_no_secret(url)
    problem = "must look like http://host:port/v1, with a port from 1 to 65535"
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:
        raise ValueError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or re.search(r"\s", url):
        raise ValueError(problem)
    return url


def _check_endpoint(url: str) -> str:
    return url if url == "local" else _check_http(url)


def _check_gpus(gpus: float) -> float:
    if gpus > 1 and not gpus.is_integer():
        raise ValueError("Ray gives a part of a GPU, or whole ones")
    return gpus


def _check_variable(name: str) -> str:
    # Many keys are letters and digits only; a variable's name so long has underscores.
    # Empty: an endpoint on this machine needs no key.
    if not re.fullmatch(r"([A-Z_][A-Z0-9_]*)?", name) or (len(name) > _LONGEST_PLAIN_WORD and "_" not in name):
        raise ValueError(
            "must name an environment variable in capital letters, such as OPENAI_API_KEY, and not hold the key itself"
        )
    return name


# No dots: DVC and Hydra read them as paths.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100), AfterValidator(_check_reserved)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31)]
"""A count that may be 0."""
Seconds = Annotated[float, Field(gt=0, le=1e6)]
Gpus = Annotated[float, Field(ge=0, le=1e6), AfterValidator(_check_gpus)]
"""A part of a GPU, or whole ones."""
Weight = Annotated[float, Field(ge=0, le=1e6)]
HttpUrl = Annotated[str, AfterValidator(_check_http)]
EndpointUrl = Annotated[str, AfterValidator(_check_endpoint)]
"""An OpenAI-compatible endpoint, or `local`."""
SecretFreeUrl = Annotated[str, AfterValidator(_check_no_secret)]
VariableName = Annotated[str, AfterValidator(_check_variable)]

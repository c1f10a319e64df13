"""Parameters, metrics and tags in the form that MLflow accepts, without secrets. MLflow itself cuts long parameters."""

import json
import math
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

from memsifter.errors import MemSifterError
from memsifter.io.display import mask_credentials
from memsifter.params import Params
from memsifter.params.compose import leaves

_MAX_NAME, _MAX_TAG = 250, 8000
_FORBIDDEN = re.compile(r"[^/\w.\- ]")


def clean_name(name: str) -> str:
    """A name that MLflow accepts on every platform: `ndcg@10` becomes `ndcg_at_10`."""
    return _FORBIDDEN.sub("_", name.replace("@", "_at_"))[:_MAX_NAME]


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags with clean names and masked values that every database can hold."""
    return {clean_name(name): mask_credentials(value)[:_MAX_TAG] for name, value in tags.items()}


def clean_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics with clean names and finite float values; MLflow would store other numbers for NaN and infinity.

    Raises:
        MemSifterError: a value is not a finite number, or two names become the same.
    """
    cleaned: dict[str, float] = {}
    for name, value in metrics.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise MemSifterError(f"metric {name} is {value!r}; only finite numbers are recorded")
        if clean_name(name) in cleaned:
            raise MemSifterError(f"metric {name}: another metric is also recorded as {clean_name(name)}; rename one")
        cleaned[clean_name(name)] = float(value)
    return cleaned


def flatten_params(params: Params) -> dict[str, str]:
    """All parameters as `section.key: value`; strings as they are, anything else as JSON."""
    return flatten(params.model_dump(mode="json"))


def flatten(values: Mapping[str, Any]) -> dict[str, str]:
    """The same for parameters as YAML has them, their keys dotted or nested."""
    return clean_tags(
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in leaves(values).items()
        }
    )

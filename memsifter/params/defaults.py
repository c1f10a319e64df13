"""The defaults of the typed parameters, as a config that `configs/config.yaml` starts from."""

from typing import Any

from memsifter.params.base import Section
from memsifter.params.tree import Params

CONFIG = "typed_defaults"
"""The name under which `configs/config.yaml` lists them."""


def register_defaults() -> None:
    """Let Hydra find the defaults by their name."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(CONFIG, default_values(Params))


def default_values(section: type[Section]) -> dict[str, Any]:
    """Every parameter of a section that has a default, as plain values for YAML; sections in it likewise."""
    values: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        kind = field.annotation
        if not field.is_required():
            values[name] = _plain(field.get_default(call_default_factory=True, validated_data={}))
        elif isinstance(kind, type) and issubclass(kind, Section):
            values[name] = default_values(kind)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value

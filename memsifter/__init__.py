"""MemSifter: find the few past conversation sessions that a question needs (arXiv 2603.03379).

`from memsifter import Sifter, Memory` (docs/use.md). Nothing heavy is imported before one of them is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memsifter.errors import MemSifterError
    from memsifter.sifter.memory import Memory
    from memsifter.sifter.results import SiftedAnswer, SiftedSession
    from memsifter.sifter.settings import SifterSettings
    from memsifter.sifter.sifter import Sifter

__all__ = ["MemSifterError", "Memory", "SiftedAnswer", "SiftedSession", "Sifter", "SifterSettings"]

_HOMES = {
    "MemSifterError": "errors",
    "Memory": "sifter.memory",
    "SiftedAnswer": "sifter.results",
    "SiftedSession": "sifter.results",
    "Sifter": "sifter.sifter",
    "SifterSettings": "sifter.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memsifter' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)

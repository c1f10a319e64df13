"""DVC's stages, one script each: `python -m stages.rank RANKER DATASET`."""

import sys
from types import TracebackType


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An interrupt while a stage still imports its modules is one line; Python ends it with the signal's exit code."""
    if issubclass(kind, KeyboardInterrupt):
        print("memsifter: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _show

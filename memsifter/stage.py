"""What every pipeline stage does around its own work: arguments, parameters, tracking, exit code."""

import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from memsifter.command import command
from memsifter.errors import MemSifterError
from memsifter.params import Params, load_params


def run_stage(main: Callable[..., dict[str, float] | None]) -> None:
    """Run a stage's `main(params, *arguments)` as a command, tracked as one MLflow run.

    The positional arguments of the command line are those of `main` after `params`; their names become tags of the run
    (`dataset`, `ranker`). The metrics that `main` returns are logged with the time it took. A `main` with the keyword
    argument `log_step` gets a function that logs metrics of a step at once (`StageRun.log_step`).

    Exit codes: 0; 1 for an error (`MemSifterError` and a full disk: one line on stderr; a bug: its traceback); 2 for a
    wrong number of arguments; 130 when interrupted.
    """
    arguments = _read_arguments(main)
    with command():
        params = load_params()
        _check_names(params, arguments)
        # MLflow takes seconds to import: not before the parameters are known to be right.
        from memsifter.tracking import track_stage

        name = os.environ.get("DVC_STAGE") or _module_name(main).rpartition(".")[2]
        with track_stage(params, name, arguments) as run:
            options = {"log_step": run.log_step} if "log_step" in inspect.signature(main).parameters else {}
            metrics = main(params, *arguments.values(), **options)
            run.log_metrics(metrics or {})


def _check_names(params: Params, arguments: Mapping[str, str]) -> None:
    known: dict[str, tuple[str, Collection[str]]] = {
        "model": ("models", params.models),
        "dataset": ("datasets", params.datasets),
        "ranker": ("matrix.rankers", params.matrix.rankers),
        "round_name": ("rounds", params.rounds),
    }
    for argument, value in arguments.items():
        section, names = known.get(argument, ("", ()))
        if section and value not in names:
            raise MemSifterError(f"{section} has no {value!r}; it has {', '.join(names) or 'none'}")


def _read_arguments(main: Callable[..., Any]) -> dict[str, str]:
    """The command line by the names of `main`'s parameters; exits with code 2 when the count is wrong."""
    parameters = inspect.signature(main).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY][1:]
    values = sys.argv[1:]
    if len(values) != len(names):
        usage = " ".join((f"python -m {_module_name(main)}", *(name.upper() for name in names)))
        print(f"usage: {usage} (got {len(values)} arguments)", file=sys.stderr)
        sys.exit(2)
    return dict(zip(names, values, strict=True))


def _module_name(main: Callable[..., Any]) -> str:
    """`stages.rank`, also when the module runs as `__main__`."""
    if main.__module__ != "__main__":
        return main.__module__
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec else Path(sys.argv[0]).stem

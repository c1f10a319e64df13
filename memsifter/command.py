"""How the project's commands start and end (logging, exit codes, errors as one line), and what every stage does."""

import errno
import inspect
import logging
import os
import select
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memsifter.errors import MemSifterError, error_chain, full_disk_message
from memsifter.io import paths
from memsifter.io.display import printable
from memsifter.io.process import end_with_launcher
from memsifter.params import Params, load_params
from memsifter.preflight import check_devices, check_files

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Everything else, that is every library, logs from WARNING on. `__main__` is a stage started with `python -m`.
_OWN_LOGGERS = ("memsifter", "stages", "__main__")
# vLLM sets up its own handlers in every worker process and is steered by the environment alone.
_LIBRARY_SETTINGS = {"VLLM_LOGGING_LEVEL": "WARNING"}
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_STDOUT = 1
_EXIT_UNREAD = 141  # what a shell reports of a tool that SIGPIPE ended


@contextmanager
def command() -> Iterator[None]:
    """Run the body as a command: set up logging to stderr and turn what ends it into an exit code.

    `MemSifterError`, a full disk, a folder without access and a package that is not installed become one line on stderr
    and exit code 1, an interrupt one line and exit code 130. Where the reader of stdout has left, as `head` does, the
    command ends without a word and with exit code 141. Any other exception is a bug and keeps its traceback.
    """
    _set_up_logging()
    try:
        yield
        print(end="", flush=True)  # here a failure can still be told
    except KeyboardInterrupt:
        print("memsifter: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            sys.exit(_EXIT_UNREAD)
        told = str(error) if isinstance(error, MemSifterError) else None
        message = _disk_message(error) or _missing_message(error) or told
        if message is None:
            raise
        print(f"memsifter: error: {printable(' '.join(message.split()))}", file=sys.stderr)
        sys.exit(1)
    finally:
        _drop_unwritable()


def _is_unread() -> bool:
    """Whether the reader of stdout has left: other pipes and connections break, too."""
    poll = select.poll()
    poll.register(_STDOUT, 0)  # asks for errors alone
    return bool(poll.poll(0))


def _drop_unwritable() -> None:
    """Let what stdout no longer takes go nowhere, or Python would complain of it when it ends."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)


def _set_up_logging() -> None:
    logging.basicConfig(level=logging.WARNING, format=_LOG_FORMAT, stream=sys.stderr, force=True)
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    for name, value in _LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)


def _disk_message(error: Exception) -> str | None:
    """What a full disk or a read-only folder means for the user; None for other errors."""
    for link in error_chain(error):
        if isinstance(link, OSError) and link.errno in _DISK_FULL:
            return full_disk_message(link.filename or _fullest_directory())
        # Our own errors already say where; theirs may quote what another machine says of its disk.
        if not isinstance(error, MemSifterError) and _tells_of_full_disk(link):
            return full_disk_message(_fullest_directory())
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE and error.filename:
        return f"{error.filename}: {error.strerror}; give the user who runs this access to it, then run it again"
    return None


def _missing_message(error: Exception) -> str | None:
    """What to do about a package that is not installed, such as one of the pipeline's beside the library alone."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    package = error.name or ""
    # With a dot it is a module that an installed package lacks: another version of it, or a bug.
    if "." in package or package in ("", "memsifter", "stages", "bench"):
        return None
    return (
        f"the package {package} is not installed; `make setup DEVICE=cpu` (or gpu) installs all that the pipeline needs"
    )


def _tells_of_full_disk(error: BaseException) -> bool:
    """Whether SQLite (MLflow's store), or a library that reports the system's errors as text alone, met a full disk."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return any(os.strerror(number) in str(error) for number in _DISK_FULL)


def _fullest_directory() -> Path:
    """Where space is shortest among the places written to: unlike open, a failed write does not name its file."""
    written = (paths.ROOT, paths.shared_root(), Path(tempfile.gettempdir()))
    return min(written, key=lambda path: shutil.disk_usage(path).free)


def run_stage(main: Callable[..., dict[str, float] | None]) -> None:
    """Run a stage's `main(params, *arguments)` as a command, tracked as one MLflow run.

    The positional arguments of the command line are those of `main` after `params`; their names become tags of the run
    (`dataset`, `ranker`). The metrics that `main` returns are logged with the time it took. A `main` with the keyword
    argument `log_step` gets a function that logs metrics of a step at once (`Record.log_step`).

    Exit codes: 0; 1 for an error (`MemSifterError` and a full disk: one line on stderr; a bug: its traceback); 2 for a
    wrong number of arguments; 130 when interrupted, also by the end of the DVC that started the stage.
    """
    arguments = _read_arguments(main)
    with command():
        end_with_launcher("DVC_STAGE")
        params = load_params()
        _check_names(params, arguments)
        stage = _module_name(main).rpartition(".")[2]
        check_files(params)
        # The others may find all that they need in their caches, or say so as soon as they start.
        if stage in ("train", "fit_likelihood"):
            check_devices(params, [stage])
        # MLflow takes seconds to import: not before the parameters are known to be right.
        from memsifter.tracking.stage_run import track_stage

        name = os.environ.get("DVC_STAGE") or stage
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

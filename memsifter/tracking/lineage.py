"""What outs were made from: the Git commit, and the hashes that dvc.lock records."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import yaml

from memsifter.errors import MemSifterError
from memsifter.io import paths

# DVC rewrites its lock file after every stage; that is no change of the code.
_NOT_DVC_LOCK = ":(exclude,top)dvc.lock"
Reader = Callable[[str], str | None]
"""Gives the text of a file of the repository, None where it is missing."""
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Revision:
    """A commit, and whether tracked files differ from it."""

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return self.commit[:7] + ("+changes" if self.dirty else "")


@dataclass(frozen=True)
class LockedStage:
    """A stage of dvc.yaml as dvc.lock records its last run; nothing but its name where it never ran.

    Attributes:
        name: As DVC_STAGE gives it, `rank@base-sample`.
        params: Values by dotted key of params.yaml.
        deps: MD5 by path; one that ends in `.dir` is a directory's.
        outs: The same for what the stage wrote.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    deps: Mapping[str, str] = field(default_factory=dict)
    outs: Mapping[str, str] = field(default_factory=dict)


def read_revision() -> Revision | None:
    """The checked-out commit, or None where there is no Git repository (an unpacked archive) or no commit yet."""
    commit = git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    return Revision(commit, bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", _NOT_DVC_LOCK)))


def git(*arguments: str) -> str | None:
    """The output of a Git command in this repository; None where it fails or there is no Git."""
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(paths.ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    return done.stdout.strip() if done.returncode == 0 else None


def read_workspace(path: str) -> str | None:
    """The text of a file of the repository, None where it is missing."""
    file = paths.ROOT / path
    return file.read_text(encoding="utf-8") if file.is_file() else None


def read_stages(read: Reader = read_workspace) -> dict[str, LockedStage]:
    """Every stage that dvc.yaml now has, by name and in its order.

    Args:
        read: Gives the text of a file of the repository, so that stages of any revision can be read.

    Raises:
        MemSifterError: dvc.yaml, dvc.lock or params.yaml is not what DVC writes or reads.
    """
    try:
        pipeline, params, lock = (_load(read(path)) for path in ("dvc.yaml", "params.yaml", "dvc.lock"))
        locked = lock.get("stages", {})
        return {name: _describe(name, locked.get(name, {})) for name in _names(pipeline.get("stages", {}), params)}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise MemSifterError(f"{paths.ROOT}: DVC's files cannot be read ({reason}); see `dvc status`") from error


def upstream_names(stages: Mapping[str, LockedStage], wanted: Iterable[str]) -> set[str]:
    """The stages that wrote some paths, and all that these needed, as far as dvc.lock records it.

    Args:
        stages: From `read_stages`.
        wanted: Paths, for instance the deps of a stage.
    """
    found: set[str] = set()
    todo = list(wanted)
    while todo:
        path = todo.pop()
        for name, stage in stages.items():
            if name not in found and any(_overlap(path, out) for out in stage.outs):
                found.add(name)
                todo += stage.deps
    return found


def read_lineage(path: str) -> dict[str, str]:
    """MD5 by path of the data and models that an out was made from, itself included, in the order of dvc.yaml.

    What dvc.lock does not hold is absent.

    Raises:
        MemSifterError: as in `read_stages`.
    """
    stages = read_stages()
    names = upstream_names(stages, [path])
    hashes = {out: md5 for name, stage in stages.items() if name in names for out, md5 in stage.outs.items()}
    return {out: md5 for out, md5 in hashes.items() if out.startswith(("data/", "models/"))}


def _load(text: str | None) -> Any:
    return yaml.load(text or "", Loader=yaml.CSafeLoader) or {}


def _names(stages: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Names as DVC gives them: `foreach` over the keys of a mapping or over a list, `matrix` over lists."""
    for name, stage in stages.items():
        if "foreach" in stage:
            yield from (f"{name}@{item}" for item in _resolve(stage["foreach"], params))
        elif "matrix" in stage:
            axes = (_resolve(axis, params) for axis in stage["matrix"].values())
            yield from (f"{name}@{'-'.join(map(str, items))}" for items in product(*axes))
        else:
            yield name


def _resolve(value: Any, params: Mapping[str, Any]) -> Any:
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match:
        value = params
        for key in match[1].split("."):
            value = value[key]
    return value


def _describe(name: str, entry: Mapping[str, Any]) -> LockedStage:
    deps, outs = ({item["path"]: item["md5"] for item in entry.get(kind, [])} for kind in ("deps", "outs"))
    return LockedStage(name, entry.get("params", {}).get("params.yaml", {}), deps, outs)


def _overlap(one: str, other: str) -> bool:
    """Whether two paths are the same or one lies in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")

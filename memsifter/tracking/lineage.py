"""What outs were made from: the Git commit, and the hashes that dvc.lock records."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import getitem
from typing import Any

import yaml

from memsifter.errors import MemSifterError
from memsifter.io import paths


@dataclass(frozen=True)
class Revision:
    """A commit, and whether tracked files differ from it."""

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return self.commit[:7] + ("+changes" if self.dirty else "")


@dataclass(frozen=True)
class LockedStage:
    """A stage as dvc.lock records its last run, nothing where it never ran.

    `params` by dotted key of params.yaml; MD5 of `deps` and `outs` by path (one that ends in `.dir` is a directory's).
    """

    params: Mapping[str, Any]
    deps: Mapping[str, str]
    outs: Mapping[str, str]


def read_revision() -> Revision | None:
    """The checked-out commit, or None where there is no Git repository (an unpacked archive) or no commit yet."""
    commit = git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    # DVC rewrites its lock file after every stage; that is no change of the code.
    changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude,top)dvc.lock")
    return Revision(commit, bool(changes))


def git(*arguments: str) -> str | None:
    """The output of a Git command in this repository; None where it fails or there is no Git."""
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(paths.ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    return done.stdout.strip() if done.returncode == 0 else None


def read_file(path: str, reference: str | None = None) -> str:
    """The text of a file in the checkout, or as a Git reference has it; "" where it is missing."""
    if reference:
        return git("show", f"{reference}:{path}") or ""
    file = paths.ROOT / path
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def read_stages(reference: str | None = None) -> dict[str, LockedStage]:
    """Every stage that dvc.yaml has, by the name that DVC gives it and in its order; see `read_file`.

    Raises:
        MemSifterError: dvc.yaml, dvc.lock or params.yaml is not what DVC writes or reads.
    """
    try:
        texts = (read_file(path, reference) for path in ("dvc.yaml", "params.yaml", "dvc.lock"))
        pipeline, params, lock = (yaml.load(text, Loader=yaml.CSafeLoader) or {} for text in texts)
        entries = {name: lock.get("stages", {}).get(name, {}) for name in _names(pipeline.get("stages", {}), params)}
        return {
            name: LockedStage(
                entry.get("params", {}).get("params.yaml", {}),
                *({item["path"]: item["md5"] for item in entry.get(kind, [])} for kind in ("deps", "outs")),
            )
            for name, entry in entries.items()
        }
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise MemSifterError(f"{paths.ROOT}: DVC's files cannot be read ({reason}); see `dvc status`") from error


def _names(stages: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """`foreach` runs over the keys of a mapping or over a list, `matrix` over lists; `${key}` is one of params.yaml."""

    def resolve(value: Any) -> Any:
        return reduce(getitem, value[2:-1].split("."), params) if isinstance(value, str) else value

    for name, stage in stages.items():
        if "foreach" in stage or "matrix" in stage:
            axes = map(resolve, stage["matrix"].values() if "matrix" in stage else [stage["foreach"]])
            yield from (f"{name}@{'-'.join(map(str, items))}" for items in product(*axes))
        else:
            yield name


def upstream(stages: Mapping[str, LockedStage], wanted: Iterable[str]) -> dict[str, LockedStage]:
    """Those of some stages that wrote wanted paths, and all that these needed, as far as dvc.lock records it."""
    found: set[str] = set()
    todo = set(wanted)
    while todo:
        writers = {name for name in stages.keys() - found if _overlap(todo, stages[name].outs)}
        todo = {dep for name in writers for dep in stages[name].deps}
        found |= writers
    return {name: stage for name, stage in stages.items() if name in found}


def _overlap(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether a path of one group is one of the other's, or lies in one."""
    pairs = ((f"{one}/", f"{other}/") for one, other in product(some, others))
    return any(one.startswith(other) or other.startswith(one) for one, other in pairs)


def read_lineage(path: str) -> dict[str, str]:
    """MD5 by path of the data and models that an out was made from, itself included, in the order of dvc.yaml.

    What dvc.lock does not hold is absent. It raises what `read_stages` raises.
    """
    outs = [item for stage in upstream(read_stages(), [path]).values() for item in stage.outs.items()]
    return {out: md5 for out, md5 in outs if out.startswith(("data/", "models/"))}

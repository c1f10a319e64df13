"""The stages of dvc.yaml as DVC resolves them, with the hashes that dvc.lock records."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import PipelineStage

from memsifter.errors import MemSifterError
from memsifter.io import paths


@dataclass(frozen=True)
class DvcStage:
    """One stage.

    Attributes:
        name: As DVC_STAGE gives it, `rank@base-sample`.
        params: Dotted keys of params.yaml that the stage depends on.
        deps: Path to MD5 (None: not in dvc.lock); an MD5 that ends in `.dir` is a directory's.
        outs: The same for what the stage writes.
    """

    name: str
    params: tuple[str, ...]
    deps: Mapping[str, str | None]
    outs: Mapping[str, str | None]

    @property
    def recorded(self) -> bool:
        """Whether dvc.lock has this stage."""
        return bool(self.outs) and all(self.outs.values())

    @property
    def evaluations(self) -> dict[str, tuple[str, str]]:
        """Files of metrics that the stage writes, each with the ranker and the dataset that it is about."""
        return {path: about for path in self.outs if (about := evaluation_of(path))}


def evaluation_of(path: str) -> tuple[str, str] | None:
    """The ranker and the dataset that a file of metrics is about; None for any other path."""
    match PurePosixPath(path).parts:
        case ("results", ranker, dataset, "metrics.json"):
            return ranker, dataset
    return None


def read_stages() -> dict[str, DvcStage]:
    """Every stage of dvc.yaml by name.

    Raises:
        MemSifterError: this is no DVC repository, or dvc.yaml or dvc.lock is broken.
    """
    with open_repository() as repo:
        return {stage.name: _describe(stage) for stage in repo.index.stages if isinstance(stage, PipelineStage)}


def upstream_names(name: str) -> set[str]:
    """The stages that `name` needs, directly or not, without itself.

    Raises:
        MemSifterError: as in `read_stages`, or there is no such stage.
    """
    with open_repository() as repo:
        collected = repo.stage.collect(f"{paths.ROOT / 'dvc.yaml'}:{name}", with_deps=True)
        return {stage.name for stage in collected if isinstance(stage, PipelineStage)} - {name}


def current_names() -> set[str]:
    """The stages that are, with all that they need, as dvc.lock has them (what `dvc status` finds unchanged).

    Raises:
        MemSifterError: as in `read_stages`, or DVC is at work in this directory.
    """
    with open_repository() as repo:
        changed = {name for name, changes in repo.status().items() if not all(_only_missing(item) for item in changes)}
        return {
            stage.name
            for stage in repo.index.stages
            if isinstance(stage, PipelineStage)
            and changed.isdisjoint(needed.addressing for needed in repo.stage.collect(stage.addressing, with_deps=True))
        }


def input_hashes(stages: Mapping[str, DvcStage], name: str) -> dict[str, str]:
    """Hashes of the dependencies of a stage about to run, as far as the stages that wrote them recorded any.

    The stage's own entry in dvc.lock is that of its previous run.
    """
    written = {path: md5 for stage in stages.values() for path, md5 in stage.outs.items() if md5}
    return {path: written[path] for path in stages[name].deps if path in written}


@contextmanager
def open_repository() -> Iterator[Repo]:
    """DVC's view of this repository.

    Raises:
        MemSifterError: it has none, or dvc.yaml or dvc.lock is broken.
    """
    try:
        with Repo(str(paths.ROOT)) as repo:
            yield repo
    except DvcException as error:
        raise MemSifterError(
            f"{paths.ROOT}: DVC cannot read the pipeline ({error}); `dvc status` tells more"
        ) from error


def _describe(stage: PipelineStage) -> DvcStage:
    parameters = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return DvcStage(
        name=stage.name,
        params=tuple(key for dep in parameters if dep.def_path == "params.yaml" for key in dep.params),
        deps={dep.def_path: dep.hash_info.value for dep in stage.deps if not isinstance(dep, ParamsDependency)},
        outs={out.def_path: out.hash_info.value for out in stage.outs},
    )


def _only_missing(change: object) -> bool:
    """Data that was never fetched (`dvc repro --allow-missing`) is absent, not different."""
    if not isinstance(change, dict):
        return False
    return all(
        isinstance(files, dict) and all(state == "deleted" for state in files.values()) for files in change.values()
    )

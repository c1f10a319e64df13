"""dvc.yaml's deps are the code that runs: what each stage script imports, directly or through other modules.

A stage whose deps miss a module stays "up to date" with old results when that module changes; one that names too much
runs again for nothing.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from memsifter.params.training import RoundParams

ROOT = Path(__file__).resolve().parents[1]

# What stages import without depending on it, and why that is safe.
NOT_FOLLOWED = {
    "memsifter.command": "starts and ends a stage, and records it in MLflow; no out depends on it",
    "memsifter.errors": "error classes",
    "memsifter.io": "how files are written, found and cached, not what is in them",
    "memsifter.params": "declares parameters; their values are in params.yaml (tests/params: no algorithm there)",
}
MOST_OF_A_PACKAGE = 0.5


def stage_deps() -> dict[str, list[str]]:
    """The code among the deps of each stage: files and packages of `stages` and `memsifter`."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {
        name: [dep for dep in stage.get("do", stage)["deps"] if dep.startswith(("stages/", "memsifter/"))]
        for name, stage in stages.items()
    }


def module_file(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def references(file: Path, follow_all: bool = False) -> frozenset[Path]:
    """The project's own modules that a module imports, anywhere in it, or names in a string for verl to import."""
    found = set()
    skip = () if follow_all else NOT_FOLLOWED
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for name in _names(node):
            if not any(name == skipped or name.startswith(f"{skipped}.") for skipped in skip):
                found.add(module_file(name))
    return frozenset(path for path in found if path is not None)


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from re.findall(r"^(?:pkg://)?(memsifter(?:\.\w+)+)$", node.value)


def files_beside(module: str) -> Iterator[str]:
    """What a module may read that is no Python: the templates and word banks of its package."""
    for path in (ROOT / module).parent.rglob("*"):
        # Not what Python keeps there: another test's process may be writing it, under a name of its own.
        if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__":
            yield path.relative_to(ROOT).as_posix()


def named_in_configs(folder: Path) -> set[Path]:
    """Modules that a folder of configuration names, such as verl's plugins."""
    texts = (path.read_text(encoding="utf-8") for path in folder.rglob("*.yaml"))
    names = {name for text in texts for name in re.findall(r"(?:pkg://|external_lib: )(memsifter[\w.]+)", text)}
    return {path for name in names if (path := module_file(name))}


def closure(roots: set[Path]) -> set[str]:
    """Everything that these modules import, themselves included; paths relative to the repository."""
    seen: set[Path] = set()
    todo = list(roots)
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += references(file)
    # A package's __init__.py that only documents it runs no code.
    return {file.relative_to(ROOT).as_posix() for file in seen if file.name != "__init__.py" or references(file)}


@pytest.mark.parametrize("stage", stage_deps())
def test_a_stage_depends_on_the_code_that_it_runs(stage: str) -> None:
    plugins = named_in_configs(ROOT / "configs" / "verl") if stage == "train" else set()
    used = closure({ROOT / "stages" / f"{stage}.py", *plugins})
    read = {file for module in used for file in files_beside(module)}
    deps = stage_deps()[stage]
    missing = sorted(file for file in used | read if not any(file == dep or file.startswith(f"{dep}/") for dep in deps))
    assert not missing, f"dvc.yaml: {stage} imports or reads what its deps do not name"
    unused = []
    for dep in deps:
        modules = [path.relative_to(ROOT).as_posix() for path in (ROOT / dep).rglob("*.py")] or [dep]
        code = [name for name in modules if not name.endswith("/__init__.py")]
        if sum(name in used for name in code) < MOST_OF_A_PACKAGE * len(code):
            unused.append(dep)
    assert not unused, f"dvc.yaml: {stage} names deps that it does not import (or hardly any of a package)"


def test_every_field_of_a_round_is_one_that_a_stage_goes_by() -> None:
    named = re.findall(r"- rounds\.\$\{key\}\.(\w+)", (ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    assert set(named) == set(RoundParams.model_fields), "another value of it would run nothing again"


def test_deps_are_named_once() -> None:
    for stage, deps in stage_deps().items():
        assert len(set(deps)) == len(deps), stage
        inside = [dep for dep in deps if any(dep.startswith(f"{other}/") for other in deps)]
        assert not inside, f"{stage}: {inside} lie in a package that is named too"


# From top to bottom: each may import those below it, as CONTRIBUTING.md shows.
FLOORS = [
    "stages",
    "cli",
    "command",
    "preflight",
    "serving",
    "sifter",
    "report",
    "tracking",
    "training",
    "checkpoints",
    "rl_data",
    "cards",
    "reward",
    "chat",
    "ranking",
    "likelihood",
    "fusion",
    "retrieval",
    "metrics",
    "datasets",
    "models",
    "llm",
    "params",
    "corpus",
    "io",
    "errors",
]
# A dataset's reader brings its own parameters: the entries of `datasets` look their classes up when one is validated.
UPWARD = {("memsifter/params/readers.py", "memsifter/datasets/registry.py")}


def test_nothing_imports_upward() -> None:
    files = [
        path for path in (ROOT / "memsifter").rglob("*.py") if path.parent.name != "memsifter" or path.stem[0] != "_"
    ]
    upward = {
        (file.relative_to(ROOT).as_posix(), imported.relative_to(ROOT).as_posix())
        for file in files
        for imported in references(file, follow_all=True)
        if FLOORS.index(floor(imported)) < FLOORS.index(floor(file))
    }
    assert upward == UPWARD


def floor(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    return parts[0] if parts[0] == "stages" else parts[1].removesuffix(".py")

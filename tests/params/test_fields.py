"""The typed parameters hold no algorithm, every field is documented, and docs/parameters.md says so."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from memsifter.io.paths import ROOT
from memsifter.params import Params
from memsifter.params.reference import REFERENCE, render_reference

FOLDER = ROOT / "memsifter" / "params"
# Modules that read, compose and describe parameters; the others declare them.
MACHINERY = {"__init__.py", "compose.py", "load.py", "readers.py", "reference.py"}
# What looks like an algorithm and may stay. No stage depends on memsifter.params: what decides an out is elsewhere.
ALLOWED = {
    "ClusterParams.remote": "null and Ray's own word for the same, in one place",
    "PromptParams.of_kind": "a lookup among two fields; their values are in params.yaml",
    "ModelParams.order": "the part of a field behind its colon, or nothing",
}
DECLARATIONS = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr, ast.FunctionDef)
VALIDATORS = {"model_validator", "field_validator"}


def _logic(tree: ast.Module) -> Iterator[str]:
    """Names of what is neither an import, a type, a constant of plain values, a field nor a validator."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and not _is_validation(item):
                    yield f"{node.name}.{item.name}"
                elif not isinstance(item, ast.FunctionDef | ast.AnnAssign | ast.Assign | ast.Expr):
                    yield f"{node.name}: line {item.lineno}"
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_check_"):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict | ast.Lambda):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            yield ast.unparse(target)
        elif not isinstance(
            node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Expr | ast.FunctionDef
        ):
            yield f"line {node.lineno}"


def _is_validation(function: ast.FunctionDef) -> bool:
    names = {
        name.id for decorator in function.decorator_list for name in ast.walk(decorator) if isinstance(name, ast.Name)
    }
    return bool(names & VALIDATORS) or function.name.startswith("_check_")


@pytest.mark.parametrize("module", sorted({path.name for path in FOLDER.glob("*.py")} - MACHINERY))
def test_parameters_hold_no_algorithm(module: str) -> None:
    found = set(_logic(ast.parse((FOLDER / module).read_text(encoding="utf-8"))))
    assert found <= ALLOWED.keys(), "fields and validators only: move it to the code that uses it"


@pytest.mark.parametrize(
    "code", ["def best(x):\n    return x", "TABLE = {1: 2}", "class A:\n    def f(self): pass", "for i in x: pass"]
)
def test_an_algorithm_is_found(code: str) -> None:
    assert list(_logic(ast.parse(code)))


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, section in {"Params": schema, **schema["$defs"]}.items():
        for key, field in section.get("properties", {}).items():
            # A section with the same text as its field; a reader's name, which heads its table.
            if "$ref" not in field and "const" not in field:
                yield f"{name}.{key}", field


def test_every_field_says_what_it_means() -> None:
    bare = [name for name, field in _fields(Params.model_json_schema()) if not field.get("description", "").strip()]
    assert not bare, "write a string under each field: unit, range, effect"


def test_the_reference_is_current() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == render_reference(), "run `make docs` and commit docs/parameters.md"


def test_the_reference_has_a_row_for_every_field_of_a_section() -> None:
    page = render_reference()
    for key in (
        "`seed`",
        "`engine.max_model_len`",
        "`prompts.deep_research`",
        "`recipe.DATASET.train`",
        "`warm_start`",
    ):
        assert f"\n| {key} |" in page

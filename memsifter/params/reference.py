"""`docs/parameters.md`, made from the typed parameters: key, type and range, default, meaning."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memsifter.io.files import write_text
from memsifter.io.paths import ROOT
from memsifter.params.compose import default_values
from memsifter.params.tree import Params

REFERENCE = ROOT / "docs" / "parameters.md"
_INTRODUCTION = """# Parameters

Every parameter of `params.yaml`, which `make repro PROFILE=… ARGS='key=value …'` and `dvc exp run -S key=value` compose
from `configs/`. The defaults are those of the typed parameters (`memsifter/params/`), for a laptop without GPU; a
profile overrides what differs on its hardware and for its models. This page is generated: `make docs`.
"""
_NAMED = {"models": "MODEL", "datasets": "DATASET", "rounds": "ROUND", "fits": "MODEL", "recipe": "DATASET"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
_LIMIT = 2**31
"""Whole numbers are below it; not worth a mention in every row."""

Schema = dict[str, Any]


def write_reference() -> Path:
    """Write `docs/parameters.md`; its path."""
    write_text(REFERENCE, render_reference())
    return REFERENCE


def render_reference() -> str:
    """The page as Markdown."""
    schema = Params.model_json_schema()
    definitions: dict[str, Schema] = schema["$defs"]
    defaults = default_values(Params)
    top = {name: field for name, field in schema["properties"].items() if _entries(field, definitions) is None}
    leaves = {name: field for name, field in top.items() if "properties" not in _resolve(field, definitions)}
    lines = [_INTRODUCTION, *_table(leaves, definitions, defaults)]
    for name, field in schema["properties"].items():
        if name in leaves:
            continue
        entries = _entries(field, definitions)
        if entries is None:
            section = _resolve(field, definitions)
            lines += [f"\n## {name}\n", _text(section), "", *_table(section["properties"], definitions, defaults[name])]
        else:
            lines += [f"\n## {name}\n", _text(field), *_entry_tables(name, entries, definitions)]
    lines += ["\n## judge\n", f"{_text(definitions['JudgeParams'])} `evaluate.judge` and `reward.judge`.", ""]
    lines += _table(definitions["JudgeParams"]["properties"], definitions, {})
    return "\n".join(lines) + "\n"


def _entry_tables(name: str, kinds: list[Schema], definitions: dict[str, Schema]) -> Iterator[str]:
    """The tables of a section whose entries have names of the user's choice, one for each kind of entry."""
    counts = Counter(field for kind in kinds for field in kind["properties"])
    # What most readers of datasets share is listed once.
    common = {field for field, count in counts.items() if 1 < count > len(kinds) / 2} - {"reader"}
    if common:
        fields = {field: value for kind in reversed(kinds) for field, value in kind["properties"].items()}
        yield f"\n### {name}.{_NAMED[name]} with any reader (`path`, `url`, `sha256` and `split`: of files)\n"
        yield from _table({field: fields[field] for field in fields if field in common}, definitions, {})
    for kind in kinds:
        reader = kind["properties"].get("reader", {}).get("const")
        own = {field: value for field, value in kind["properties"].items() if field not in common}
        yield f"\n### {name}.{_NAMED[name]}" + (f" with reader: {reader}" if reader else "") + "\n"
        yield _text(kind)
        if own.keys() - {"reader"}:
            yield ""
            yield from _table({field: own[field] for field in own if field != "reader"}, definitions, {})


def _table(fields: dict[str, Schema], definitions: dict[str, Schema], defaults: Any) -> Iterator[str]:
    yield "| parameter | values | default | meaning |"
    yield "|---|---|---|---|"
    yield from _rows(fields, definitions, defaults, "")


def _rows(fields: dict[str, Schema], definitions: dict[str, Schema], defaults: Any, prefix: str) -> Iterator[str]:
    for name, field in fields.items():
        section, entries = _resolve(field, definitions), _entries(field, definitions)
        given = (defaults or {}).get(name, field.get("default", ...))
        if "properties" in section:
            yield from _rows(section["properties"], definitions, given, f"{prefix}{name}.")
            continue
        default = "" if given is ... else f"`{json.dumps(given, ensure_ascii=False)}`"
        kind = "a section" if entries and "properties" in entries[0] else _kind(field, definitions)
        yield f"| `{prefix}{name}` | {kind} | {default} | {_text(field)} |"
        if entries and "properties" in entries[0]:
            yield from _rows(entries[0]["properties"], definitions, {}, f"{prefix}{name}.{_NAMED[name]}.")


def _kind(field: Schema, definitions: dict[str, Schema]) -> str:
    """Type and range in words."""
    field = _resolve(field, definitions)
    if "anyOf" in field:
        return " or ".join(_kind(member, definitions) for member in field["anyOf"])
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), definitions)}"
    if "properties" in field:
        return "a section"
    if field.get("type") == "object":
        return f"{_kind(_values(field) or {}, definitions)} by name"
    bounds = [f"{sign} {field[key]:g}" for key, sign in _BOUNDS.items() if key in field and field[key] < _LIMIT]
    return " ".join([_TYPES[field["type"]], " and ".join(bounds)]).strip()


def _entries(field: Schema, definitions: dict[str, Schema]) -> list[Schema] | None:
    """What the entries of a dictionary with free names may be; None for another field."""
    values = _values(_resolve(field, definitions))
    if values is None:
        return None
    members = [_resolve(member, definitions) for member in values.get("oneOf", [values])]
    return members if all("properties" in member for member in members) else None


def _values(field: Schema) -> Schema | None:
    """The schema of a dictionary's values."""
    candidates = (field.get("additionalProperties"), *field.get("patternProperties", {}).values())
    return next((schema for schema in candidates if isinstance(schema, dict)), None)


def _resolve(field: Schema, definitions: dict[str, Schema]) -> Schema:
    return definitions[field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def _text(field: Schema) -> str:
    return " ".join(str(field.get("description", "")).split()).replace("|", "\\|")

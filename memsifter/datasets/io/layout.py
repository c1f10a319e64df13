"""Typed access to the fields of a source row, and to the files of a folder; every error names what it is about."""

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from memsifter.corpus.sessions import SPLITS, Split
from memsifter.datasets.io.json_text import is_json, parse_json
from memsifter.errors import DataError

_T = TypeVar("_T")
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "a whole number"),
    ((float, Decimal), "a number"),
    (list, "a list"),
    (dict, "an object"),
    (type(None), "null"),
)
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_LABEL = re.compile(r"\(?([A-Za-z])[).:]")


def describe_kind(value: Any) -> str:
    """Name the JSON kind of a value, for error messages."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


def require(row: Mapping[str, Any], field: str, kind: type[_T], where: str) -> _T:
    """Return `row[field]`, which must exist and be of `kind`.

    Raises:
        DataError: the field is missing or holds something else.
    """
    if field not in row:
        found = ", ".join(map(str, row)) or "no fields"
        raise DataError(
            f"{where}: field {field!r} is missing; found {found}", field=field, fix="add or rename the field"
        )
    return check_kind(row[field], kind, f"{where}: field {field!r}", field)


def check_kind(value: Any, kind: type[_T], where: str, field: str = "") -> _T:
    """Return `value`, which must be of `kind` (a boolean is not a whole number).

    Raises:
        DataError: it is not.
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        expected = next(name for kinds, name in _KINDS if kind is kinds)
        raise DataError(
            f"{where}: expected {expected}, got {describe_kind(value)}", field=field, fix=f"write {expected} there"
        )
    return value


def require_strings(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    """Return `row[field]`, which must be a list of strings.

    Raises:
        DataError: it is not.
    """
    items = require(row, field, list, where)
    return tuple(
        check_kind(item, str, f"{where}: field {field!r}[{number}]", field) for number, item in enumerate(items)
    )


def require_text(row: Mapping[str, Any], field: str, where: str) -> str:
    """Return `row[field]` as text: a string as it is, a number with the digits that the source wrote.

    Raises:
        DataError: the field is missing or is neither a string nor a number.
    """
    value = row.get(field)
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return str(value)
    return require(row, field, str, where)


def parse_literal(text: str, kind: type[_T], field: str, where: str) -> _T:
    r"""Parse a list or object written as JSON or, where it is no JSON, as Python prints it: CSV files hold both.

    JSON comes first because its escapes mean something else in Python: `\ud83c\udf89` is one emoji, `\/` a slash.

    Raises:
        DataError: it is neither, or of another kind.
    """
    if is_json(text):
        return check_kind(parse_json(text, where, field), kind, f"{where}: field {field!r}", field)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape is kept as it stands
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataError(
            f"{where}: field {field!r}: cannot be read as a list or object", field=field, fix="write it as JSON"
        ) from error
    return check_kind(value, kind, f"{where}: field {field!r}", field)


def parse_split(value: Any, where: str) -> Split:
    """Return a split's name.

    Raises:
        DataError: it is none.
    """
    for split in SPLITS:
        if value == split:
            return split
    shown = repr(value) if isinstance(value, str) else describe_kind(value)
    raise DataError(
        f"{where}: field 'split' is {shown}, allowed: {', '.join(SPLITS)}",
        field="split",
        fix=f"write {' or '.join(SPLITS)}",
    )


def chosen_option(answer: str, options: Sequence[str], where: str) -> str:
    """The option that `answer` means: the option itself, or its letter as in `(c)`, where the options are lettered.

    Raises:
        DataError: none, or more than one, is meant.
    """
    if not options or answer in options:
        return answer
    letter = _LETTER.fullmatch(answer.strip())
    labels = [_LABEL.match(option.strip()) for option in options]
    meant = [
        option
        for option, label in zip(options, labels, strict=True)
        if letter and label and label[1].lower() == letter[1].lower()
    ]
    if len(meant) != 1:
        raise DataError(
            f"{where}: the answer {answer[:40]!r} is none of the {len(options)} options",
            field="answer",
            fix="give one of the options, or its letter",
        )
    return meant[0]


def find_file(folder: Path, pattern: str) -> Path:
    """The one file of a folder whose name matches a glob pattern.

    Raises:
        DataError: not a folder, or not exactly one such file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with {pattern}", fix="name the folder, not one of its files")
    if len(found := sorted(folder.glob(pattern))) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: expected one file {pattern}, found {names}", fix="put exactly one of them there")
    return found[0]

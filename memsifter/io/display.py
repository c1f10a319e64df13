"""Text of others where people open it: terminals, Markdown, and CSV files that a spreadsheet reads.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula; a terminal acts on control characters, and
direction marks show text in another order than it has. Addresses may hold secrets.
"""

import re
from typing import Any

# Control characters but for tabs and ends of lines, direction overrides and isolates, halves of surrogate pairs.
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)
# Also in full width. Quotes that stand before belong to it, so that what `csv_cell` adds can be told and removed.
_FORMULA = re.compile(r"'*\s*[=+\-@\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# A password may hold unescaped / ? # and @, so after a colon everything up to the last @ goes.
_USER_INFO = re.compile(r"(?<=://)(?:[^/?#\s:@]*:\S*|[^/?#\s]+)@")
_QUERY_VALUE = re.compile(r"([?&][^=&\s]+=)[^&#\s]+")


def printable(text: str) -> str:
    """Control characters, direction marks and halves of surrogate pairs as escapes; tabs and ends of lines stay."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def csv_cell(value: Any) -> Any:
    """What to write for a value: a text that a spreadsheet would run gets `'` before it; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def read_csv_cell(text: str) -> str:
    """The text that `csv_cell` was given, with control characters as escapes."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def markdown_code(text: str) -> str:
    """A text as code in one line, also in a cell of a table."""
    line = " ".join(printable(text).split()).replace("`", "'").replace("|", r"\|")
    return f"`{line}`"


def mask_credentials(text: str) -> str:
    """Replace user, password and query values in every URI of a text: any of them may be a secret."""
    return _QUERY_VALUE.sub(r"\1***", _USER_INFO.sub("***@", text)) if "://" in text else text

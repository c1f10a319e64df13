"""Stream the rows of Parquet, JSON, JSON-lines and CSV files; every error names file and row."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from memsifter.datasets.io.json_text import UNUSABLE, UNUSABLE_FIX, TextBuffer, describe_unusable, parse_json
from memsifter.datasets.io.layout import check_kind
from memsifter.errors import DataError

_PARQUET_MAGIC = b"PAR1"
_ROWS_PER_BATCH = 16  # a row can hold a whole haystack, up to megabytes
_BUFFER_BYTES = 1 << 20
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_COPY_AGAIN = "copy or download it again"
_CSV_FIELD_CHARACTERS = 1 << 30  # the module's own limit is 128 KiB


@dataclass(frozen=True)
class Row:
    """One row of a source: its fields, or why it has none."""

    number: int
    where: str
    _content: dict[str, Any] | DataError

    @property
    def label(self) -> str:
        """The row without its file, for issues; these are stored and must not depend on where the file lies."""
        return f"row {self.number}"

    def fields(self) -> dict[str, Any]:
        """The fields.

        Raises:
            DataError: the row could not be read.
        """
        if isinstance(self._content, DataError):
            raise self._content
        return self._content


def iter_rows(path: Path) -> Iterator[Row]:
    """Stream a file of objects: Parquet, a JSON array, JSON lines or objects over several lines; the content decides.

    Memory holds one row (16 of Parquet) at a time. A JSON line that cannot be read is one bad row; everywhere else,
    what follows an error cannot be trusted and the whole file is refused.

    Raises:
        DataError: the file is empty, in another format or encoding, malformed, or ends early.
    """
    with path.open("rb") as stream:
        if stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC:
            yield from _iter_parquet(path, stream)
            return
        stream.seek(0)
        first = first_character(path, stream)
        if first == b"[":
            yield from _iter_json_array(path, stream)
        elif first == b"{" and _is_spread_out(stream):
            yield from _iter_spread_out(path, stream)
        elif first == b"{":
            yield from _iter_json_lines(path, stream)
        else:
            raise DataError(
                f"{path}: neither Parquet nor JSON; the file starts with {first!r}", fix="give a file in one of these"
            )


def iter_csv(path: Path) -> Iterator[Row]:
    """Stream a CSV file with a header; every value is a string. A row of another length than the header is a bad row.

    Raises:
        DataError: the file is empty, not UTF-8, has a name twice in its header, or cannot be parsed.
    """
    csv.field_size_limit(_CSV_FIELD_CHARACTERS)
    with path.open("rb") as stream:
        first_character(path, stream)
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader)
            if len(set(header)) < len(header):
                raise DataError(f"{path}: the header has a name twice: {', '.join(header)}", fix="rename one column")
            for number, values in enumerate(filter(None, reader), start=1):
                where = f"{path}: row {number}"
                if len(values) == len(header):
                    yield Row(number, where, dict(zip(header, values, strict=True)))
                else:
                    problem = f"{where}: {len(values)} values for {len(header)} columns"
                    yield Row(number, where, DataError(problem, fix="quote values that hold commas or line breaks"))
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error.reason})", fix="save the file as UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num}: not valid CSV ({error})", fix=_COPY_AGAIN) from error


def first_character(path: Path, stream: BinaryIO) -> bytes:
    """Return the first byte that is not white space and leave `stream` at the start of the text, after any BOM.

    Raises:
        DataError: the file is empty or is UTF-16.
    """
    start = stream.read(len(_UTF8_BOM))
    if start.startswith(_UTF16_BOMS):
        raise DataError(f"{path}: the text is UTF-16", fix="save the file as UTF-8")
    text_start = len(_UTF8_BOM) if start == _UTF8_BOM else 0
    stream.seek(text_start)
    while (character := stream.read(1)).isspace():
        pass
    if not character:
        raise DataError(f"{path}: the file is empty", fix=_COPY_AGAIN)
    stream.seek(text_start)
    return character


def _iter_parquet(path: Path, stream: BinaryIO) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH):
            for fields in batch.to_pylist():
                number += 1
                yield Row(number, f"{path}: row {number}", fields)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(
            f"{path}: after {number} rows: not a readable Parquet file ({reason})", fix=_COPY_AGAIN
        ) from error


def _iter_json_lines(path: Path, stream: BinaryIO) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            content: dict[str, Any] | DataError = check_kind(parse_json(_decode(line, where), where), dict, where)
        except DataError as error:
            if not line.endswith(b"\n"):
                error.fix = "the file ends early; copy or download it again"
            content = error
        yield Row(number, where, content)


def _is_spread_out(stream: BinaryIO) -> bool:
    """Whether objects span lines, as `json.dump(…, indent=2)` writes them; the stream stays in place."""
    start = stream.tell()
    lines = (line for line in stream if line.strip())
    try:
        first, second = next(lines), next(lines, b"{")
        if _starts_with_object(BytesIO(first)):
            return False
        if not second.startswith(b"{"):
            return True
        stream.seek(start)  # a first line that was cut off, or an object with others in it
        return _starts_with_object(stream)
    finally:
        stream.seek(start)


def _starts_with_object(stream: BinaryIO) -> bool:
    try:
        TextBuffer(stream).decode()
    except (EOFError, *UNUSABLE) as error:
        return not isinstance(error, (EOFError, json.JSONDecodeError, UnicodeDecodeError))
    return True


def _iter_spread_out(path: Path, stream: BinaryIO) -> Iterator[Row]:
    """Decode objects that span lines; after an error nobody knows where the next begins, so the file is refused."""
    text = TextBuffer(stream)
    number = 0
    where = f"{path}: row 1"
    try:
        while text.peek():
            fields = text.decode()
            number += 1
            yield Row(number, where, fields)
            where = f"{path}: row {number + 1}"
    except EOFError as error:
        problem = f"{where}: the JSON ends early, or is wrong in its last characters"
        raise DataError(problem, fix=_COPY_AGAIN) from error
    except UNUSABLE as error:
        problem = f"{where}: {describe_unusable(error)}"
        raise DataError(problem, fix="correct it, or write one object per line") from error


def _iter_json_array(path: Path, stream: BinaryIO) -> Iterator[Row]:
    """Decode one element after the other from a text buffer that holds little more than the element."""
    text = TextBuffer(stream)
    number = 0
    try:
        text.skip("[")
        while text.peek() != "]":
            if number:
                text.skip(",")
            fields = text.decode()
            number += 1
            yield Row(number, f"{path}: row {number}", fields)
        text.skip("]")
        if rest := text.peek():
            raise DataError(
                f"{path}: after the array of {number} rows comes {rest!r}", fix="keep one JSON array per file"
            )
    except EOFError as error:
        problem = f"{path}: the JSON ends early, at byte {path.stat().st_size} after {number} complete rows"
        raise DataError(problem, fix=_COPY_AGAIN) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error.reason
        problem = f"{path}: not valid UTF-8 JSON after {number} complete rows ({reason})"
        raise DataError(problem, fix=f"correct row {number + 1}, or {_COPY_AGAIN}") from error
    except UNUSABLE as error:
        raise DataError(f"{path}: row {number + 1}: {describe_unusable(error)}", fix=UNUSABLE_FIX) from error


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8-sig" if line.startswith(_UTF8_BOM) else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 (byte {error.start})", fix="save the file as UTF-8") from error

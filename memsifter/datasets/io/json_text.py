"""JSON without ambiguity: exact digits, no NaN, each key once; whole texts, and arrays streamed element by element."""

import codecs
import json
from decimal import Decimal
from typing import Any, BinaryIO, NoReturn

from memsifter.errors import DataError

_BUFFER_BYTES = 1 << 20
_LONGEST_TOKEN = 16  # an escape, `false`, the signs of a number
_LONGEST_ROW = 1 << 30  # characters; a quote that is never closed would else fill the memory


def parse_json(text: str, where: str, field: str = "") -> Any:
    """Parse JSON that stands in a field or a line; numbers with a fraction become decimals, digit by digit.

    Raises:
        DataError: not JSON, NaN or Infinity, a key that repeats, or nesting too deep to be data.
    """
    place = f"{where}: field {field!r}" if field else where
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        problem = f"{place}: not valid JSON ({error.msg} at character {error.pos})"
        raise DataError(problem, field=field, fix="write it as JSON") from error
    except UNUSABLE as error:
        raise DataError(f"{place}: {describe_unusable(error)}", field=field, fix=UNUSABLE_FIX) from error


def is_json(text: str) -> bool:
    """Whether a text is JSON, if perhaps ambiguous (`parse_json` refuses that)."""
    try:
        _DECODER.decode(text)
    except (json.JSONDecodeError, RecursionError):
        return False
    except UNUSABLE:
        return True
    return True


class TextBuffer:
    """The undecoded rest of a JSON text, read in pieces.

    Not ijson, because its parser turns half a surrogate pair into a question mark without a word, and its builder
    cannot refuse a key that is given twice.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._start = 0

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            while self._start < len(self._text) and self._text[self._start] in " \t\r\n":
                self._start += 1
            if self._start < len(self._text):
                return self._text[self._start]
            if not self._read(_BUFFER_BYTES):
                return ""

    def skip(self, character: str) -> None:
        """Go past the next character, which must be this one."""
        if not (found := self.peek()):
            raise EOFError
        if found != character:
            raise json.JSONDecodeError(f"expected {character!r}, found {found!r}", self._text, self._start)
        self._start += 1

    def decode(self) -> Any:
        """Decode the next value. A value cut off by the end of the buffer is tried again with twice as much text."""
        if self.peek() != "{":  # where another value ends, the text so far does not say
            found = self.peek()
            if not found:
                raise EOFError
            raise json.JSONDecodeError(f"expected an object, found {found!r}", self._text, self._start)
        while True:
            try:
                value, self._start = _DECODER.raw_decode(self._text, self._start)
            except json.JSONDecodeError as error:
                # An error well inside the text is not caused by its end; the longest token that can be cut is a string,
                # which is reported at its start.
                if not (error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _LONGEST_TOKEN):
                    raise
                if len(self._text) - self._start > _LONGEST_ROW:
                    raise UnusableJsonError("longer than 1 GiB") from error
                if not self._read(max(_BUFFER_BYTES, len(self._text) - self._start)):
                    raise EOFError from error
            else:
                return value

    def _read(self, size: int) -> bool:
        chunk = self._stream.read(size)
        self._text = self._text[self._start :] + self._decoder.decode(chunk, final=not chunk)
        self._start = 0
        return bool(chunk)


class UnusableJsonError(Exception):
    """Text that Python's decoder takes and that is not JSON, or not unambiguous."""


# Besides: nesting, whole numbers of thousands of digits, exponents without bound.
UNUSABLE = (UnusableJsonError, RecursionError, ValueError, ArithmeticError)
UNUSABLE_FIX = "write null or a string for a value that is not a number, and each key once"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise UnusableJsonError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise UnusableJsonError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_float=Decimal, parse_constant=_refuse_constant)


def describe_unusable(error: Exception) -> str:
    """What is wrong with a text that raised one of `UNUSABLE`."""
    if isinstance(error, RecursionError):
        return "nested too deeply to be data"
    return str(error) or f"a number out of range ({type(error).__name__})"

"""Points in time as exports of chats write them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from memsifter.errors import DataError

_FORMATS = (
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d (%a) %H:%M",
    "%I:%M %p on %d %B, %Y",
    "%d %B %Y %H:%M",
    "%B %d, %Y %I:%M %p",
)
_MILLISECONDS_FROM = 100_000_000_000  # as seconds the year 5138


def parse_timestamp(value: Any, where: str, field: str) -> datetime:
    """Seconds or milliseconds since 1970 (a number, or its digits), ISO 8601, or one of six common formats.

    A time without a zone is taken as UTC.

    Raises:
        DataError: none of these.
    """
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return _from_seconds(float(value), where, field)
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return _from_seconds(float(text), where, field)
        for pattern in (None, *_FORMATS):
            try:
                moment = datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)
                return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
            except (ValueError, OverflowError):
                continue
    raise DataError(
        f"{where}: field {field!r}: {str(value)[:40]!r} is no time", field=field, fix="write it as 2024-05-20T10:00:00Z"
    )


def _from_seconds(number: float, where: str, field: str) -> datetime:
    try:
        return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(
            f"{where}: field {field!r}: {number:g} is out of range", field=field, fix="write seconds since 1970"
        ) from error

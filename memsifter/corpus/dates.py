"""Dates as sources write them: read where they are certain, refused where they are ambiguous or contradict themselves.

This is the one reader of dates. It takes every form that names year, month and day without doubt:

- ISO 8601 and its compact forms, `2024-05-20T09:30:00Z`, `20240520`, `20240520093000`;
- numbers in any order that can only mean one day: `2024/05/20`, `20.05.2024`, `05/20/2024`. `05/06/2024` is refused;
  with dots the day comes first, as wherever dates are written with dots;
- English month names in any order, `1:56 pm on 8 May, 2023`, `20-May-2024`, and `2024年5月20日`;
- seconds, milliseconds or microseconds since 1970, where they fall into the years 1990 to 2099.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache

from dateutil import parser

_YEARS = range(1900, 2100)
_EPOCH_YEARS = range(1990, 2100)
_LONGEST = 100  # characters; no date is longer
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_COMPACT = re.compile(r"(\d{8})(?:[T ]?(\d{4}|\d{6}))?(Z|[+-]\d\d:?\d\d)?")
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")
_YEAR = re.compile(r"(?<![\d:+.])(?:19|20)\d\d(?!\d)")
_CHINESE = re.compile(r"(\d{4})\s*年\s*(\d{1,2})\s*月\s*(\d{1,2})\s*日?")
_MONTH = re.compile(r"(?<![a-z])(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*", re.IGNORECASE)
_WEEKDAY = re.compile(
    r"(?<![a-z])(mon|tue|wed|thu|fri|sat|sun)[a-z]*|(?:星期|周|礼拜)([一二三四五六日天])", re.IGNORECASE
)
_ENGLISH_WEEKDAYS, _CHINESE_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "一二三四五六日"
# Two readings that differ show what the text does not say.
_DEFAULTS = (datetime(2000, 1, 1), datetime(2001, 2, 2, 1, 1, 1))


class DateError(ValueError):
    """A date that cannot be read with certainty; the message says why."""


class ContradictoryDateError(DateError):
    """A date whose parts do not fit each other."""


@dataclass(frozen=True)
class Moment:
    """A day, and the time where the source gives one.

    `written` is what the writer's calendar and clock showed, with an offset where the source names one; midnight where
    there is no time.
    """

    written: datetime
    has_time: bool

    @property
    def day(self) -> date:
        """The day that the writer saw, whatever day it was elsewhere."""
        return self.written.date()

    @property
    def instant(self) -> datetime:
        """The point in time in UTC, for ordering; a time without an offset counts as UTC."""
        return self.written.astimezone(UTC) if self.written.tzinfo else self.written.replace(tzinfo=UTC)


def parse_moment(value: str | int | float | Decimal) -> Moment:
    """Read a date, with or without a time.

    Raises:
        DateError: not a date, only a part of one, ambiguous, or out of range; `ContradictoryDateError` where the
            weekday is another.
    """
    found = _read(str(value)) if not isinstance(value, bool) else DateError("it is no date")
    if isinstance(found, DateError):
        raise type(found)(*found.args)
    return found


def read_day(text: str) -> date | None:
    """The day that a text is, as its writer saw it; None where it is no day or not certain which.

    >>> read_day("2024-05-20T21:30:00-07:00")
    datetime.date(2024, 5, 20)
    """
    try:
        return parse_moment(text).day
    except DateError:
        return None


def read_time(text: str) -> datetime | None:
    """The point in time that a text is, in UTC, for ordering (a day alone is its midnight); None as `read_day`."""
    try:
        return parse_moment(text).instant
    except DateError:
        return None


@lru_cache(maxsize=1 << 16)  # haystacks share their sessions' dates
def _read(value: str) -> Moment | DateError:
    text = " ".join(unicodedata.normalize("NFKC", value).split())
    if not text or len(text) > _LONGEST:
        return DateError("it is no date")
    try:
        return _parse_compact(text) or (_parse_epoch(text) if _NUMBER.fullmatch(text) else _parse_text(text))
    except DateError as error:
        return error


def _parse_compact(text: str) -> Moment | None:
    """`YYYYMMDD`, `YYYYMMDDhhmm` or `YYYYMMDDhhmmss`; None where the digits are no date of a plausible year."""
    if not (match := _COMPACT.fullmatch(text)) or int(text[:4]) not in _YEARS:
        return None
    day, time, zone = match.groups(default="")
    try:
        return Moment(datetime.fromisoformat(f"{day}T{time or '0000'}{zone if time else ''}"), bool(time))
    except ValueError:
        return None


def _parse_epoch(text: str) -> Moment:
    number = float(text)
    for per_second in (1, 10**3, 10**6):
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=number / per_second)
        except (OverflowError, ValueError):
            continue
        if moment.year in _EPOCH_YEARS:
            return Moment(moment, has_time=True)
    raise DateError("as a time since 1970 it is not in the years 1990 to 2099, and as digits it is no date")


def _parse_text(text: str) -> Moment:
    text = re.sub(r"[()\[\]]", " ", _CHINESE.sub(r"\1-\2-\3 ", text))
    weekdays = {_weekday(match) for match in _WEEKDAY.finditer(text)}
    text = _WEEKDAY.sub(" ", text)
    if match := _YEAR_FIRST.search(text):
        year, _, month, day = match.groups()
    elif match := _YEAR_LAST.search(text):
        day, month = _day_and_month(int(match[1]), int(match[3]), match[2])
        year = match[4]
    elif not _MONTH.search(text):
        raise DateError("it does not name year, month and day")
    if match:
        text = f"{text[: match.start()]}{year}-{int(month):02}-{int(day):02}{text[match.end() :]}"
    if len(_YEAR.findall(text)) > 1:
        raise DateError("it names more than one year")
    first, second = (_parse_with_dateutil(text.strip(" ,"), default) for default in _DEFAULTS)
    if first.date() != second.date() or str(first.year) not in text:
        raise DateError("it does not name year, month and day")
    if first.year not in _YEARS:
        raise DateError(f"the year {first.year} is not in 1900 to 2099")
    if weekdays - {first.weekday()}:
        raise ContradictoryDateError(f"{first:%Y-%m-%d} is another day of the week")
    return Moment(first, has_time=first.hour == second.hour)


def _parse_with_dateutil(text: str, default: datetime) -> datetime:
    try:
        moment: datetime = parser.parse(text, default=default, tzinfos=_offset)
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        raise DateError("it is no date") from error
    return moment


def _offset(_name: str | None, seconds: int | None) -> tzinfo | None:
    """The offset that is written; a zone's name alone does not say one (and must not mean this machine's zone)."""
    return None if seconds is None else timezone(timedelta(seconds=seconds))


def _day_and_month(first: int, second: int, separator: str) -> tuple[int, int]:
    if first > 12 or separator == "." or first == second:
        return first, second
    if second > 12:
        return second, first
    raise DateError("day and month could be either; write it as 2024-05-20")


def _weekday(match: re.Match[str]) -> int:
    if match[1]:
        return _ENGLISH_WEEKDAYS.index(match[1].lower())
    return _CHINESE_WEEKDAYS.index(match[2].replace("天", "日"))

"""Days that a question names relative to the day it is asked on: "last May", "two weeks ago", "on Friday last week"."""

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from memsifter.retrieval.dates import MONTHS, read_day

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NUMBERS = {
    word: number
    for number, words in enumerate(
        ("", "a an one", "two couple", "three few", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
    )
    for word in words.split()
} | {"twelve": 12}
_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
_NUMBER = rf"(?:a\s+)?(?P<number>\d{{1,3}}|{'|'.join(_NUMBERS)})(?:\s+of)?"
_UNIT = r"(?P<unit>day|week|month|year)"
_LAST = r"\b(?:last|past|previous)"

Days = tuple[date, date]
"""First and last day of a stretch of time."""


def _ago(match: re.Match[str], asked: date) -> Days:
    unit = _DAYS[match["unit"]]
    middle = asked - timedelta(_count(match["number"]) * unit)
    # Nobody counts the days of "two months ago": half a unit to either side is meant as well.
    return middle - timedelta(unit // 2), middle + timedelta(unit // 2)


def _within_last(match: re.Match[str], asked: date) -> Days:
    return asked - timedelta(_count(match["number"]) * _DAYS[match["unit"]]), asked


def _last_unit(match: re.Match[str], asked: date) -> Days:
    first, _ = _this_unit(match, asked)
    last = first - timedelta(1)
    if match["unit"] == "week":
        return last - timedelta(6), last
    return last.replace(month=1 if match["unit"] == "year" else last.month, day=1), last


def _this_unit(match: re.Match[str], asked: date) -> Days:
    if match["unit"] == "week":
        return asked - timedelta(asked.weekday()), asked
    return asked.replace(month=1 if match["unit"] == "year" else asked.month, day=1), asked


def _last_weekday(match: re.Match[str], asked: date) -> Days:
    back = (asked.weekday() - _WEEKDAYS.index(match["weekday"].lower())) % 7 or 7
    day = asked - timedelta(back)
    return day, day


def _last_weekend(_: re.Match[str], asked: date) -> Days:
    sunday = asked - timedelta(asked.weekday() + 1)
    return sunday - timedelta(1), sunday


def _last_month_named(match: re.Match[str], asked: date) -> Days:
    month = MONTHS.index(match["month"].capitalize()) + 1
    year = asked.year if month < asked.month else asked.year - 1
    following = date(year + month // 12, month % 12 + 1, 1)
    return date(year, month, 1), following - timedelta(1)


def _yesterday(_: re.Match[str], asked: date) -> Days:
    return asked - timedelta(1), asked - timedelta(1)


def _today(_: re.Match[str], asked: date) -> Days:
    return asked, asked


# The first pattern that matches decides, so the longer expression stands before the one it contains.
_READERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date], Days]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reader)
    for pattern, reader in (
        (rf"\b{_NUMBER}\s+{_UNIT}s?\s+(?:ago|before|earlier)\b", _ago),
        (rf"{_LAST}\s+{_NUMBER}\s+{_UNIT}s?\b", _within_last),
        (rf"{_LAST}\s+weekend\b", _last_weekend),
        (rf"{_LAST}\s+(?P<weekday>{'|'.join(_WEEKDAYS)})[a-z]*day\b", _last_weekday),
        (rf"{_LAST}\s+(?P<month>{'|'.join(MONTHS)})[a-z]*\b", _last_month_named),
        (rf"{_LAST}\s+{_UNIT}\b", _last_unit),
        (rf"\bthis\s+{_UNIT}\b", _this_unit),
        (r"\byesterday\b", _yesterday),
        (r"\btoday\b", _today),
    )
)


def relative_days(text: str, asked: date) -> Days | None:
    """The stretch of time that a question names relative to its own day (English); None when it names none."""
    for pattern, reader in _READERS:
        if match := pattern.search(text):
            return reader(match, asked)
    return None


def relative_date_scores(
    questions: Sequence[str], question_dates: Sequence[str], session_dates: Sequence[str]
) -> NDArray[np.float32]:
    """Score sessions by how near they lie to the time that each question names relative to its own day.

    Returns:
        float32 [questions, sessions]: 1 within the time named, falling to 1/e at a distance of half its length (at
        least a day); 0 for sessions without a readable date, and for questions that name no such time.
    """
    scores = np.zeros((len(questions), len(session_dates)), dtype=np.float32)
    asked = [_read_day(text) for text in question_dates]
    named = [relative_days(text, day) if day else None for text, day in zip(questions, asked, strict=True)]
    if not any(named):
        return scores
    read = [_read_day(text) for text in session_dates]
    days = np.asarray([day.toordinal() if day else np.nan for day in read])
    for row, stretch in enumerate(named):
        if stretch:
            first, last = (day.toordinal() for day in stretch)
            distance = np.maximum(0, np.maximum(first - days, days - last))
            scores[row] = np.nan_to_num(np.exp(-distance / max(1, (last - first) / 2)))
    return scores


_read_day = lru_cache(maxsize=1 << 16)(read_day)


def _count(word: str) -> int:
    return int(word) if word.isdigit() else _NUMBERS[word.lower()]

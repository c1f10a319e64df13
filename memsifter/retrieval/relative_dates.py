"""Nearness of sessions to the time that a question names relative to its own day ("two weeks ago", "last May").

English only. An expression counts where whole words name an exact stretch of time before the day of the question.
Where they may name another ("the last day of my trip", "two weeks before 11 August"), the question names no time.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.dates import read_day
from memsifter.corpus.words import compose_text
from memsifter.retrieval.dates import MONTH_NAME, date_terms, month_number

Days = tuple[date, date]
"""First and last day of a stretch of time."""

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBERS = {
    word: number
    for number, words in enumerate(
        ("", "a an one", "two couple", "three few", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
    )
    for word in words.split()
} | {"twelve": 12}
_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
_NUMBER = rf"(?:a\s+(?=couple|few))?(?P<number>\d{{1,3}}|{'|'.join(_NUMBERS)})(?:(?<=couple)\s+of)?"
_UNIT = r"(?P<unit>day|week|month|year)"
_LONG_UNIT = r"(?P<unit>week|month|year)"
_LAST = r"(?:last|past|previous)"

# Words before an expression that make it another time. "Twenty one days ago" are not one day, and "over a year ago"
# and "one or two weeks ago" are no exact time; "my last week" and "Ann's last year" may be those of anything.
_NOT_AFTER = "before|after|until|till|since|by|than|later|up"
_NOT_AFTER_AGO = (
    rf"{_NOT_AFTER}|over|under|within|least|most|or|to|and|every|another|hundred|thousand|\w+ty|{'|'.join(_NUMBERS)}"
    r"|.*\d|\w+-\w+"
)
_NOT_AFTER_OWN = (
    rf"{_NOT_AFTER}|my|your|his|her|its|our|their|whose|every|each|very"
    r"|(?!(?:what|who|where|when|how|that|it|there|here)')\w+(?:'s|s')"
)
_NOT_AFTER_THE = rf"{_NOT_AFTER_OWN}|the|an?"
_NOT_BEFORE = re.compile(r"\s+(?:of|or|before|after|until|till|and\s+a\s+half)\b", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"(\S+)\s+$")
_LONGEST_WORD = 40  # characters: bounds the search


def _ago(match: re.Match[str], asked: date) -> Days:
    unit = _DAYS[match["unit"].lower()]
    number = _count(match["number"]) if match["number"] else 0
    halves = 2 * number + bool(match["half"] or match["and_half"] or match["unit_and_half"])
    days = halves * unit // 2
    middle = asked - timedelta(days)
    # Nobody counts the days of "two months ago": half a unit to either side is meant as well.
    around = timedelta(min(unit, days) // 2)
    return middle - around, middle + around


def _within_last(match: re.Match[str], asked: date) -> Days:
    number = _count(match["number"]) if "number" in match.re.groupindex else 1
    return asked - timedelta(number * _DAYS[match["unit"].lower()]), asked


def _last_unit(match: re.Match[str], asked: date) -> Days:
    first, _ = _this_unit(match, asked)
    last = first - timedelta(1)
    return _start_of(match["unit"].lower(), last), last


def _this_unit(match: re.Match[str], asked: date) -> Days:
    return _start_of(match["unit"].lower(), asked), asked


def _start_of(unit: str, day: date) -> date:
    if unit == "week":
        return day - timedelta(day.weekday())
    return day.replace(month=1 if unit == "year" else day.month, day=1)


def _last_weekday(match: re.Match[str], asked: date) -> Days:
    back = (asked.weekday() - _WEEKDAYS.index(match["weekday"].lower())) % 7 or 7
    return _days_back(asked, back)


def _last_weekend(_: re.Match[str], asked: date) -> Days:
    sunday = asked - timedelta(asked.weekday() + 1)
    return sunday - timedelta(1), sunday


def _last_month_named(match: re.Match[str], asked: date) -> Days | None:
    if not (month := month_number(match["month"])):
        return None
    year = asked.year if month < asked.month else asked.year - 1
    following = date(year + month // 12, month % 12 + 1, 1)
    return date(year, month, 1), following - timedelta(1)


def _days_back(asked: date, days: int) -> Days:
    return asked - timedelta(days), asked - timedelta(days)


_Reader = Callable[[re.Match[str], date], Days | None]
_EXPRESSIONS: tuple[tuple[re.Pattern[str], _Reader, re.Pattern[str]], ...] = tuple(
    (
        re.compile(rf"(?<![\w.,/\u2044\u2013\u2014-]){pattern}(?![\w\u2013\u2014-])", re.IGNORECASE),
        reader,
        re.compile(not_after, re.IGNORECASE),
    )
    for pattern, reader, not_after in (
        (
            rf"(?:(?P<half>half\s+an?)|{_NUMBER}(?P<and_half>\s+and\s+a\s+half)?)\s+{_UNIT}s?"
            r"(?P<unit_and_half>\s+and\s+a\s+half)?\s+ago",
            _ago,
            _NOT_AFTER_AGO,
        ),
        (rf"{_LAST}\s+{_NUMBER}\s+{_UNIT}s?", _within_last, _NOT_AFTER_OWN),
        (
            r"(?:in|over|within|during|for|throughout)\s+the\s+last\s+"
            rf"{_UNIT}(?!\s+(?:at|in|on|when|that|where)\b)",
            _within_last,
            _NOT_AFTER,
        ),
        (rf"past\s+{_UNIT}", _within_last, _NOT_AFTER_OWN),
        (rf"{_LAST}\s+weekend", _last_weekend, _NOT_AFTER_OWN),
        (rf"{_LAST}\s+(?P<weekday>{'|'.join(_WEEKDAYS)})", _last_weekday, _NOT_AFTER_OWN),
        (rf"{_LAST}\s+(?P<month>{MONTH_NAME})", _last_month_named, _NOT_AFTER_OWN),
        (rf"(?:last|previous)\s+{_LONG_UNIT}", _last_unit, _NOT_AFTER_THE),
        (rf"this\s+{_LONG_UNIT}", _this_unit, _NOT_AFTER),
        (r"(?:the\s+)?day\s+before\s+yesterday", lambda _, asked: _days_back(asked, 2), _NOT_AFTER),
        (r"yesterday", lambda _, asked: _days_back(asked, 1), _NOT_AFTER),
        (r"today", lambda _, asked: _days_back(asked, 0), rf"{_NOT_AFTER}|to"),
    )
)


def relative_days(text: str, asked: date) -> Days | None:
    """The stretch of time that a question names relative to its own day; None when it names none, or several.

    A question that names a day or a year besides may count from there ("last week, as mentioned on 6 November"), so it
    names no time either.
    """
    text = compose_text(text).replace("\u2019", "'")
    found = [
        (match.start(), -match.end(), match, reader, not_after)
        for pattern, reader, not_after in _EXPRESSIONS
        for match in pattern.finditer(text)
    ]
    named: set[Days] = set()
    end = 0
    for start, _, match, reader, not_after in sorted(found, key=lambda expression: expression[:2]):
        if start < end:
            continue  # a part of the one before
        end = match.end()
        if not _means_another_time(text, match, not_after) and (days := reader(match, asked)):
            named.add(days)
    if len(named) != 1 or any(not term.startswith("month") for term in date_terms(text)):
        return None
    return named.pop()


def _means_another_time(text: str, match: re.Match[str], not_after: re.Pattern[str]) -> bool:
    if _NOT_BEFORE.match(text, match.end()):
        return True
    before = _WORD_BEFORE.search(text[: match.start()][-_LONGEST_WORD:])
    return bool(before and not_after.fullmatch(before[1]))


def _count(word: str) -> int:
    return int(word) if word.isdigit() else _NUMBERS[word.lower()]


def relative_date_scores(
    questions: Sequence[str], question_dates: Sequence[str], session_dates: Sequence[str]
) -> NDArray[np.float32]:
    """Score sessions by how near they lie to the time that each question names relative to its own day.

    Returns:
        float32 [questions, sessions]: 1 within the time named, falling to 1/e at a distance of half its length (at
        least a day); 0 for sessions without a readable date, and for questions that name no such time.
    """
    scores = np.zeros((len(questions), len(session_dates)), dtype=np.float32)
    asked = [read_day(text) for text in question_dates]
    named = [relative_days(text, day) if day else None for text, day in zip(questions, asked, strict=True)]
    if not any(named):
        return scores
    read = [read_day(text) for text in session_dates]
    days = np.asarray([day.toordinal() if day else np.nan for day in read])
    for row, stretch in enumerate(named):
        if stretch:
            first, last = (day.toordinal() for day in stretch)
            distance = np.maximum(0, np.maximum(first - days, days - last))
            scores[row] = np.nan_to_num(np.exp(-distance / max(1, (last - first) / 2)))
    return scores

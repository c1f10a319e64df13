"""Agreement of a question's dates, absolute ("8 May") or relative ("last May"), with the dates of the sessions."""

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from memsifter.retrieval.bm25 import bm25_weights, count_terms, multiply

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = (
    r"\b(?P<name>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_DAY = r"(?:3[01]|[12]\d|0?[1-9])"
_DATE = re.compile(
    # 2023, 2023-05, 2023/05/20, 2023年5月20日
    r"(?<!\d)(?P<year>(?:19|20)\d\d)"
    rf"(?:[-/.年](?P<month>1[0-2]|0?[1-9])(?:[-/.月](?P<day>{_DAY})(?!\d))?(?!\d))?(?!\d)"
    # May, 8 May, 8th of May, May 8
    rf"|(?:\b(?P<before>{_DAY})(?:st|nd|rd|th)?\s+(?:of\s+)?)?{_MONTH}(?:\s+(?P<after>{_DAY})(?:st|nd|rd|th)?\b)?"
)


def date_terms(text: str) -> list[str]:
    """The distinct years, months and days that a text names, as terms such as `year 2023`, `month 5`, `day 20`.

    A number is a day only beside a month. Month names are English and capitalised ("May" is a month, "may" a verb).
    """
    terms: dict[str, None] = {}
    for match in _DATE.finditer(text):
        month = match["month"] or (match["name"] and MONTHS.index(match["name"][:3]) + 1)
        day = match["day"] or match["before"] or match["after"]
        for part, value in (("year", match["year"]), ("month", month), ("day", day)):
            if value:
                terms[f"{part} {int(value)}"] = None
    return list(terms)


def read_day(text: str) -> date | None:
    """The one day that a text names with year and month; None when it names none, several, or one that does not exist.

    >>> read_day("1:56 pm on 8 May, 2023")
    datetime.date(2023, 5, 8)
    """
    terms = dict(term.split() for term in date_terms(text))
    if len(date_terms(text)) != len(terms) or set(terms) != {"year", "month", "day"}:
        return None
    year, month, day = (int(terms[part]) for part in ("year", "month", "day"))
    return date(year, month, day) if day <= monthrange(year, month)[1] else None


class DateIndex:
    """The dates of a collection's sessions, and of the questions asked of it."""

    def __init__(self, session_dates: Sequence[str], questions: Sequence[str]) -> None:
        """Read all dates.

        Args:
            session_dates: as the source writes them, one per session of each haystack.
            questions: all questions.
        """
        terms = {text: date_terms(text) for text in dict.fromkeys((*session_dates, *questions))}
        ids = {
            term: number for number, term in enumerate(dict.fromkeys(term for row in terms.values() for term in row))
        }
        rows = [[ids[term] for term in terms[text]] for text in (*session_dates, *questions)]
        counts = count_terms(rows, len(ids))
        # With k1 = 0 a term counts once and the length of a date plays no part.
        self._weights = bm25_weights(counts[: len(session_dates)], k1=0.0, b=0.0)
        self._queries = counts[len(session_dates) :]

    def scores(self, questions: NDArray[np.int64], dates: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score sessions by how rare, in the collection, the date terms are that they share with each question.

        Args:
            questions: int64 [Q], positions in the questions given.
            dates: int64 [S], positions in the dates given.

        Returns:
            float32 [Q, S], sums of inverse document frequencies; zeros for a question that names no date.
        """
        return multiply(self._queries[questions], self._weights[dates])


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

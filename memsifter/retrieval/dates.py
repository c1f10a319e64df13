"""Agreement between the dates that a question names and the dates of the sessions."""

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from memsifter.retrieval.bm25 import bm25_weights, multiply
from memsifter.retrieval.terms import count_terms

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

"""Agreement of the years, months and days that a question names ("8 May") with the dates of the sessions."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.dates import read_day
from memsifter.corpus.words import compose_text
from memsifter.retrieval.bm25 import bm25_weights, count_terms, multiply

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MONTH_NAME = (
    r"(?i:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_ALSO_A_WORD = ("may", "march", "august")
_DAY = r"(?:3[01]|[12]\d|0?[1-9])"
_DATE = re.compile(
    # 20.05.2024, 05/20/2024
    r"(?<![\w/.-])(?P<numbers>\d{1,2}([-/.])\d{1,2}\2(?P<last_year>(?:19|20)\d\d))(?![\w/-])"
    # 2023, 2023-05, 2023/05/20, 2023年5月20日
    r"|(?<!\d)(?P<year>(?:19|20)\d\d)"
    rf"(?:(?:[-/.]|\s*年\s*)(?P<month>1[0-2]|0?[1-9])(?:(?:[-/.]|\s*月\s*)(?P<day>{_DAY})(?!\d))?(?!\d))?(?!\d)"
    # May, 8 May, 8th of May, 8-May, May 8
    rf"|(?:\b(?P<before>{_DAY})(?:st|nd|rd|th)?(?:\s+(?:of\s+)?|-))?\b(?P<name>{MONTH_NAME})\b\.?"
    rf"(?:(?:\s+|-)(?P<after>{_DAY})(?:st|nd|rd|th)?\b)?(?=(?P<near_year>[\s,-]+(?:19|20)\d\d(?!\d))?)"
)
_SENTENCE_START = re.compile(r"(?:^|[.?!:]\s)\W*$")


def date_terms(text: str) -> list[str]:
    """The distinct years, months and days that a text names, as terms such as `year 2023`, `month 5`, `day 20`.

    A number is a day only beside a month. Month names are English. What may be another word is a month only where that
    is certain: "may" is a verb, and so is the "May" that begins a sentence, but for the one in "May 2023".
    """
    text = compose_text(text)
    terms: dict[str, None] = {}
    for match in _DATE.finditer(text):
        if match["numbers"]:
            named = _day_terms(match["numbers"]) or [f"year {int(match['last_year'])}"]
        elif match["year"]:
            parts = (("year", match["year"]), ("month", match["month"]), ("day", match["day"]))
            named = [f"{part} {int(value)}" for part, value in parts if value]
        else:
            day = match["before"] or match["after"]
            starts = bool(_SENTENCE_START.search(text, max(0, match.start() - 9), match.start()))
            month = month_number(match["name"], beside_number=bool(day or match["near_year"]), starts_sentence=starts)
            if not month:
                continue
            named = [f"month {month}", *([f"day {int(day)}"] if day else ())]
        terms.update(dict.fromkeys(named))
    return list(terms)


def month_number(name: str, *, beside_number: bool = False, starts_sentence: bool = False) -> int | None:
    """The number of the month that `MONTH_NAME` found; None where it may be another word.

    Args:
        name: full or abbreviated, as it is written.
        beside_number: whether a day or a year stands beside it.
        starts_sentence: whether its capital letter is only that of a sentence.
    """
    ambiguous = name.lower() in _ALSO_A_WORD
    if name.istitle():
        certain = beside_number or not (ambiguous and starts_sentence)
    else:  # lower case or capitals: not "dec", "mar" or "SEP", which may be anything
        certain = (len(name) > 4 or name.lower() in ("june", "july")) and not ambiguous
        certain = certain or (name.isupper() and beside_number)
    return MONTHS.index(name[:3].capitalize()) + 1 if certain else None


def _session_terms(date: str) -> tuple[str, ...]:
    """The terms of a session's date; of one that is no single day, those that the text names."""
    return tuple(_day_terms(date) or date_terms(date))


def _day_terms(text: str) -> list[str]:
    """The terms of the one day that the text is; empty where it is none."""
    day = read_day(text)
    return [f"month {day.month}", f"day {day.day}", f"year {day.year}"] if day else []


class DateIndex:
    """The dates of a collection's sessions, and of the questions asked of it.

    A session that several haystacks have on one day counts once, in whatever form each of them writes the day.
    """

    def __init__(self, sessions: Sequence[tuple[str, str]], questions: Sequence[str]) -> None:
        """Read all dates.

        Args:
            sessions: the content key and the date, as the source writes it, of the sessions of all haystacks.
            questions: all questions.
        """
        self._terms = {date: _session_terms(date) for date in dict.fromkeys(date for _, date in sessions)}
        entries = dict.fromkeys((key, self._terms[date]) for key, date in sessions)
        self._rows = {entry: row for row, entry in enumerate(entries)}
        terms = [*(terms for _, terms in entries), *map(date_terms, questions)]
        ids = {term: number for number, term in enumerate(dict.fromkeys(term for row in terms for term in row))}
        counts = count_terms([[ids[term] for term in row] for row in terms], len(ids))
        # With k1 = 0 a term counts once and the length of a date plays no part.
        self._weights = bm25_weights(counts[: len(entries)], k1=0.0, b=0.0)
        self._queries = counts[len(entries) :]

    def rows(self, sessions: Iterable[tuple[str, str]]) -> NDArray[np.int64]:
        """Where sessions, of those given at first, stand; int64 [S]."""
        return np.asarray([self._rows[key, self._terms[date]] for key, date in sessions], dtype=np.int64)

    def scores(self, questions: NDArray[np.int64], sessions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score sessions by how rare, in the collection, the date terms are that they share with each question.

        Args:
            questions: int64 [Q], positions in the questions given.
            sessions: int64 [S], of `rows`.

        Returns:
            float32 [Q, S], sums of inverse document frequencies; zeros for a question that names no date.
        """
        return multiply(self._queries[questions], self._weights[sessions])

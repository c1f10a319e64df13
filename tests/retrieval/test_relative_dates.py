from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from memsifter.retrieval.relative_dates import relative_date_scores, relative_days

ASKED = date(2023, 12, 18)  # a Monday

quick = settings(max_examples=300, deadline=None)
days = st.dates(date(1990, 1, 1), date(2099, 12, 31))
units = st.sampled_from(["day", "week", "month", "year"])
heads = st.from_regex(r"[a-z]{2,12}", fullmatch=True)
fillers = st.lists(
    st.sampled_from(["What", "did", "Ann", "paint", "with", "Melanie", "for", "Tom", "please", "cake", "again"]),
    max_size=6,
)
EXPRESSIONS = (
    *("yesterday", "today", "the day before yesterday", "3 days ago", "a week ago", "half a year ago"),
    *("last week", "last year", "last May", "LAST JUNE", "last Saturday", "last weekend", "this month"),
    *("in the last week", "in the past day", "over the past two weeks", "the last couple of months"),
)
TIME_WORDS = (
    *("day", "week", "month", "year", "weekend", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"),
    *("sunday", "jan", "january", "feb", "february", "apr", "april", "jun", "june", "jul", "july", "september"),
    *("october", "november", "december"),
)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("What did I cook yesterday?", (2023, 12, 17), (2023, 12, 17)),
        ("What did I cook the day before yesterday?", (2023, 12, 16), (2023, 12, 16)),
        ("What was that 3 days ago?", (2023, 12, 15), (2023, 12, 15)),
        ("two weeks ago", (2023, 12, 1), (2023, 12, 7)),
        ("a couple of months ago", (2023, 10, 4), (2023, 11, 3)),
        ("half a year ago", (2023, 3, 20), (2023, 9, 18)),
        ("a year and a half ago", (2021, 12, 19), (2022, 12, 18)),
        ("one and a half weeks ago", (2023, 12, 5), (2023, 12, 11)),
        ("Which trips did I make last May?", (2023, 5, 1), (2023, 5, 31)),
        ("WHICH TRIPS DID I MAKE LAST JUNE?", (2023, 6, 1), (2023, 6, 30)),
        ("last December", (2022, 12, 1), (2022, 12, 31)),
        ("last december", (2022, 12, 1), (2022, 12, 31)),
        ("last Saturday", (2023, 12, 16), (2023, 12, 16)),
        ("last Monday", (2023, 12, 11), (2023, 12, 11)),
        ("last weekend", (2023, 12, 16), (2023, 12, 17)),
        ("last week", (2023, 12, 11), (2023, 12, 17)),
        ("\uff4c\uff41\uff53\uff54 \uff57\uff45\uff45\uff4b", (2023, 12, 11), (2023, 12, 17)),
        ("What's last week's plan at work?", (2023, 12, 11), (2023, 12, 17)),
        ("last month", (2023, 11, 1), (2023, 11, 30)),
        ("last year", (2022, 1, 1), (2022, 12, 31)),
        ("in the past two weeks", (2023, 12, 4), (2023, 12, 18)),
        ("in the past day", (2023, 12, 17), (2023, 12, 18)),
        ("over the last week", (2023, 12, 11), (2023, 12, 18)),
        ("this month", (2023, 12, 1), (2023, 12, 18)),
        ("last week, before the last day of my trip", (2023, 12, 11), (2023, 12, 17)),
        ("in May last year", (2022, 1, 1), (2022, 12, 31)),
    ],
)
def test_stretches_of_time_are_read(text: str, first: tuple[int, int, int], last: tuple[int, int, int]) -> None:
    assert relative_days(text, ASKED) == (date(*first), date(*last))


@pytest.mark.parametrize(
    "text",
    [
        *("", "What lasts?", "in May 2023", "two weeks", "the last time", "昨天"),
        # Parts of other words and of other numbers.
        *("the last mayor election", "the past marathon", "last decision", "last weekday", "last year-end", "dayago"),
        *("2.5 weeks ago", "10-12 days ago", "1,500 days ago", "twenty one days ago", "twenty-one days ago"),
        *("2\u00bd weeks ago", "2 1/2 weeks ago", "how many days ago", "3 weekss ago"),
        # Of something else than the question's day.
        *("the last day of my trip", "my last week at work", "Ann's last year in school", "the last week of May"),
        *("in the last week at school", "the last day", "to this day", "the week before", "two weeks earlier"),
        *("What was the puppy that she got two weeks before August 11, 2023?", "a week before last Friday"),
        *("What was the issue last week, as mentioned on November 6, 2023?", "last Friday on 23 January"),
        # No exact time, or several.
        *("more than two weeks ago", "over a year ago", "one or two weeks ago", "a week or two ago", "since last May"),
        *("until today", "until the day before yesterday", "the past year and a half", "later this week"),
        "How many days are there from last Saturday to yesterday?",
        # Verbs.
        *("How long will it last may I ask?", "those who past may have been", "last march", "last mar"),
    ],
)
def test_other_questions_name_no_time(text: str) -> None:
    assert relative_days(text, ASKED) is None


@quick
@given(st.sampled_from(["last", "past", "previous", "this", "the last", "in the past"]), heads, days)
def test_an_unknown_word_after_last_names_no_time(before: str, head: str, asked: date) -> None:
    assume(head not in TIME_WORDS)
    assert relative_days(f"{before} {head}", asked) is None
    assert relative_days(f"two {head} ago", asked) is None


@quick
@given(st.integers(1, 998), units, days)
def test_more_units_ago_lie_earlier(number: int, unit: str, asked: date) -> None:
    nearer, farther = (relative_days(f"{count} {unit}s ago", asked) for count in (number, number + 1))
    assert nearer
    assert farther
    assert farther[0] < nearer[0]
    assert farther[1] < nearer[1] < asked


@quick
@given(st.sampled_from(EXPRESSIONS), days)
def test_no_time_lies_after_the_day_of_the_question(expression: str, asked: date) -> None:
    stretch = relative_days(expression, asked)
    assert stretch
    assert asked - timedelta(2 * 366) <= stretch[0] <= stretch[1] <= asked


@quick
@given(st.sampled_from(EXPRESSIONS), fillers, fillers, days)
def test_other_words_around_an_expression_change_nothing(
    expression: str, before: list[str], after: list[str], asked: date
) -> None:
    assert relative_days(" ".join([*before, expression, *after]), asked) == relative_days(expression, asked)


@quick
@given(st.text(), days)
def test_no_text_is_an_error(text: str, asked: date) -> None:
    relative_days(f"{text} last {text} ago", asked)


def test_sessions_within_the_time_score_one_and_near_ones_less() -> None:
    dates = ["6 May, 2023", "20-May-2023", "8 June, 2023", "1 December, 2023", "some day", "05/06/2023"]
    asked = ["2023/12/18 (Mon) 04:17"] * 2 + [""]
    scores = relative_date_scores(["last May?", "when?", "last May?"], asked, dates)
    assert scores[0, :2].tolist() == [1, 1]
    assert 1 > scores[0, 2] > scores[0, 3] > 0
    assert not scores[0, 4:].any(), "no day, or not certain which"
    assert scores[0, 2] == pytest.approx(np.exp(-8 / 15)), "8 days after a month of 31"
    assert not scores[1:].any(), "no time named; no day on which it was asked"

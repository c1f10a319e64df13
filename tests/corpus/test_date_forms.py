from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsifter.corpus.dates import ContradictoryDateError, DateError, parse_moment, read_day, read_time

DAY = date(2024, 5, 20)
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


@pytest.mark.parametrize(
    "text",
    [
        "20240520",
        "202405200930",
        "20240520093000",
        "20240520T093000Z",
        "1716199200",
        "1716199200000",
        "1716199200000000",
        "1716199200.25",
        "2024-05-20",
        "2024-05-20T10:00:00.123Z",
        "2024/5/20 10:00",
        "2024/05/20 (Mon) 10:00",
        "2024.05.20",
        "05/20/2024",
        "5/20/2024 10:00 PM",
        "20/05/2024",
        "20.05.2024",
        "20.5.2024, 10:00",
        "20-05-2024",
        "20-May-2024",
        "20 May 2024 10:00",
        "10:00 am on 20 May, 2024",
        "MAY 20, 2024",
        "May 20th, 2024",
        "20th of May 2024",
        "Monday, May 20, 2024 at 3pm",
        "Mon, 20 May 2024 10:00:00 GMT",
        "Mon May 20 10:00:00 2024",
        "2024年5月20日",
        "2024 年 5 月 20 日 星期一 10:00",
        "２０２４年５月２０日",
    ],
)
def test_one_day_in_many_forms(text: str) -> None:
    assert read_day(text) == DAY


@pytest.mark.parametrize("value", [20240520, 20240520093000, 1716199200, 1716199200000, 1716199200.5])
def test_numbers_are_compact_dates_or_times_since_1970(value: float) -> None:
    assert parse_moment(value).day == DAY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no date"),
        ("tomorrow", "does not name year, month and day"),
        ("昨天", "does not name year, month and day"),
        ("May 2024", "does not name year, month and day"),
        ("2024-05", "does not name year, month and day"),
        ("20 May", "does not name year, month and day"),
        ("5/20/24", "does not name year, month and day"),
        ("05/06/2024", "day and month could be either"),
        ("2024-02-30", "no date"),
        ("20241301", "not in the years 1990 to 2099"),
        ("12", "not in the years 1990 to 2099"),
        ("9" * 30, "not in the years 1990 to 2099"),
        ("-1716199200", "not in the years 1990 to 2099"),
        ("0001-01-01T00:00:00+10:00", "the year 1 is not in 1900 to 2099"),
        ("20 May 2024, 2023", "more than one year"),
        ("2024-05-20 - 2024-05-21", "more than one year"),
        ("9 May 2024 or 10 May", "no date"),
    ],
)
def test_what_is_not_certain_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert read_day(text) is None
    assert read_time(text) is None
    with pytest.raises(DateError, match=reason):
        parse_moment(text)


@pytest.mark.parametrize("text", ["2024/05/20 (Tue) 10:00", "Sunday, May 20, 2024", "2024年5月20日 星期二"])
def test_a_weekday_that_does_not_fit_is_a_contradiction(text: str) -> None:
    with pytest.raises(ContradictoryDateError, match="2024-05-20 is another day of the week"):
        parse_moment(text)


def test_the_day_is_the_one_that_the_writer_saw() -> None:
    evening = "2024-05-20T21:30:00-07:00"
    assert read_day(evening) == DAY
    assert read_time(evening) == datetime(2024, 5, 21, 4, 30, tzinfo=UTC)
    assert read_day("2024-05-21 01:00+09:00") == date(2024, 5, 21)


@pytest.mark.parametrize(("text", "has_time"), [("2024-05-20", False), ("20240520", False), ("2024-05-20 00:00", True)])
def test_a_day_alone_has_no_time(text: str, has_time: bool) -> None:
    moment = parse_moment(text)
    assert (moment.has_time, moment.instant) == (has_time, datetime(2024, 5, 20, tzinfo=UTC))


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
def test_every_day_is_read_in_every_form(day: date) -> None:
    month = MONTHS[day.month - 1]
    forms = [
        f"{day:%Y-%m-%d}",
        f"{day:%Y%m%d}",
        f"{day.year}/{day.month}/{day.day}",
        f"{day.day}.{day.month}.{day.year}",
        f"{day.day} {month} {day.year}",
        f"{month[:3].upper()} {day.day}, {day.year}",
        f"1:56 pm on {day.day} {month}, {day.year}",
        f"{day.day}-{month[:3]}-{day.year}",
        f"{day.year}年{day.month}月{day.day}日",
    ]
    assert {form: read_day(form) for form in forms} == dict.fromkeys(forms, day)
    american = f"{day:%m/%d/%Y}"
    assert read_day(american) == (day if day.day > 12 or day.day == day.month else None)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31)), st.sampled_from([1, 1000, 1_000_000]))
def test_seconds_milliseconds_and_microseconds_are_told_apart(moment: datetime, per_second: int) -> None:
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    number = int(whole.timestamp()) * per_second
    if parse_moment(number).has_time:  # some numbers are compact dates as well
        assert abs(parse_moment(number).instant - whole) < timedelta(milliseconds=1)


@given(st.text() | st.integers() | st.floats() | st.from_regex(r"[\d年月日/.:+\-TZ ]{1,20}"))
def test_nothing_else_than_a_moment_or_a_date_error(value: Any) -> None:
    try:
        moment = parse_moment(value)
    except DateError:
        return
    assert 1900 <= moment.day.year < 2100

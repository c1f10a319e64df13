from datetime import date

import numpy as np
import pytest

from memsifter.retrieval.dates import relative_date_scores, relative_days

ASKED = date(2023, 12, 18)  # a Monday


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("What did I cook yesterday?", (2023, 12, 17), (2023, 12, 17)),
        ("What was that 3 days ago?", (2023, 12, 15), (2023, 12, 15)),
        ("two weeks ago", (2023, 12, 1), (2023, 12, 7)),
        ("a couple of months ago", (2023, 10, 4), (2023, 11, 3)),
        ("Which trips did I make last May?", (2023, 5, 1), (2023, 5, 31)),
        ("last December", (2022, 12, 1), (2022, 12, 31)),
        ("last Saturday", (2023, 12, 16), (2023, 12, 16)),
        ("last Monday", (2023, 12, 11), (2023, 12, 11)),
        ("last weekend", (2023, 12, 16), (2023, 12, 17)),
        ("last week", (2023, 12, 11), (2023, 12, 17)),
        ("last month", (2023, 11, 1), (2023, 11, 30)),
        ("last year", (2022, 1, 1), (2022, 12, 31)),
        ("in the past two weeks", (2023, 12, 4), (2023, 12, 18)),
        ("this month", (2023, 12, 1), (2023, 12, 18)),
    ],
)
def test_stretches_of_time_are_read(text: str, first: tuple[int, int, int], last: tuple[int, int, int]) -> None:
    assert relative_days(text, ASKED) == (date(*first), date(*last))


@pytest.mark.parametrize("text", ["", "What lasts?", "in May 2023", "two weeks", "the last time", "昨天"])
def test_other_questions_name_no_time(text: str) -> None:
    assert relative_days(text, ASKED) is None


def test_sessions_within_the_time_score_one_and_near_ones_less() -> None:
    dates = ["6 May, 2023", "20 May, 2023", "8 June, 2023", "1 December, 2023", "some day"]
    asked = ["2023/12/18 (Mon) 04:17"] * 2 + [""]
    scores = relative_date_scores(["last May?", "when?", "last May?"], asked, dates)
    assert scores[0, :2].tolist() == [1, 1]
    assert 1 > scores[0, 2] > scores[0, 3] > scores[0, 4] == 0
    assert scores[0, 2] == pytest.approx(np.exp(-8 / 15)), "8 days after a month of 31"
    assert not scores[1:].any(), "no time named; no day on which it was asked"

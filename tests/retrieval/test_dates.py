from datetime import date

import numpy as np
import pytest

from memsifter.retrieval.dates import DateIndex, date_terms, read_day


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("1:56 pm on 8 May, 2023", ["month 5", "day 8", "year 2023"]),
        ("2023/05/20 (Sat) 02:11", ["year 2023", "month 5", "day 20"]),
        ("2023-05-20T10:00:00", ["year 2023", "month 5", "day 20"]),
        ("2023年5月20日", ["year 2023", "month 5", "day 20"]),
        ("What happened on February 7, 2022?", ["month 2", "day 7", "year 2022"]),
        ("the 3rd of Sept", ["month 9", "day 3"]),
        ("in December 2023", ["month 12", "year 2023"]),
        ("between May 2022 and May 2023", ["month 5", "year 2022", "year 2023"]),
        ("She may march 12 miles in 3 days", []),
        ("call 120231 or 20235", []),
        ("", []),
    ],
)
def test_years_months_and_days_are_found(text: str, terms: list[str]) -> None:
    assert date_terms(text) == terms


def test_the_session_of_the_named_day_scores_best() -> None:
    dates = ["8 May, 2023", "20 May, 2023", "8 June, 2023", ""]
    index = DateIndex(dates, ["What did I say on May 20, 2023?", "What did I say?"])
    scores = index.scores(np.arange(2), np.arange(4))
    assert np.argmax(scores[0]) == 1
    assert scores[0, 0] > scores[0, 2] > scores[0, 3] == 0
    assert not scores[1].any()


def test_other_sessions_of_the_haystack_do_not_change_a_score() -> None:
    index = DateIndex(["8 May, 2023", "20 May, 2023", "8 June, 2023"], ["on 8 May"])
    alone, beside = (index.scores(np.asarray([0]), np.asarray(dates)) for dates in ([0], [0, 2, 1]))
    assert alone[0, 0] == beside[0, 0] > 0


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1:56 pm on 8 May, 2023", date(2023, 5, 8)),
        ("2023/05/20 (Sat) 02:11", date(2023, 5, 20)),
        ("31 February 2023", None),
        ("May 2023", None),
        ("8 May and 9 May, 2023", None),
        ("", None),
    ],
)
def test_a_day_is_read_where_one_is_named(text: str, day: date | None) -> None:
    assert read_day(text) == day

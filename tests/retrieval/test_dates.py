import numpy as np
import pytest

from memsifter.retrieval.dates import DateIndex, date_terms


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
        ("May I ask what I did in december?", ["month 12"]),
        ("May 2023 was warm. May 8 too", ["month 5", "year 2023", "day 8"]),
        ("Do you like May?", ["month 5"]),
        ("ON MAY 20, 2024", ["month 5", "day 20", "year 2024"]),
        ("WHAT MAY I DO", []),
        ("in an august hall, sep by sep", []),
        ("on 20-May-2024", ["month 5", "day 20", "year 2024"]),
        ("on 20.05.2024.", ["month 5", "day 20", "year 2024"]),
        ("on 05/20/2024", ["month 5", "day 20", "year 2024"]),
        ("on 05/06/2024", ["year 2024"]),
        ("\uff12\uff10\uff12\uff13 年 5 月 20 日", ["year 2023", "month 5", "day 20"]),
        ("She may march 12 miles in 3 days", []),
        ("call 120231 or 20235", []),
        ("", []),
    ],
)
def test_years_months_and_days_are_found(text: str, terms: list[str]) -> None:
    assert date_terms(text) == terms


def index_of(dates: list[str], questions: list[str]) -> DateIndex:
    """The index of sessions with these dates, which differ in their content."""
    return DateIndex([(str(number), date) for number, date in enumerate(dates)], questions)


def test_the_session_of_the_named_day_scores_best() -> None:
    dates = ["8 May, 2023", "20 May, 2023", "8 June, 2023", ""]
    index = index_of(dates, ["What did I say on May 20, 2023?", "What did I say?"])
    scores = index.scores(np.arange(2), np.arange(4))
    assert np.argmax(scores[0]) == 1
    assert scores[0, 0] > scores[0, 2] > scores[0, 3] == 0
    assert not scores[1].any()


def test_other_sessions_of_the_haystack_do_not_change_a_score() -> None:
    index = index_of(["8 May, 2023", "20 May, 2023", "8 June, 2023"], ["on 8 May"])
    alone, beside = (index.scores(np.asarray([0]), np.asarray(dates)) for dates in ([0], [0, 2, 1]))
    assert alone[0, 0] == beside[0, 0] > 0


@pytest.mark.parametrize(
    "written",
    [
        *("20-May-2024", "MAY 20, 2024", "20240520", "20240520093000", "1716197400", "05/20/2024", "20.05.2024"),
        *("2024-05-20T21:30:00-07:00", "2024 年 5 月 20 日"),
    ],
)
def test_a_sessions_day_is_read_in_every_form(written: str) -> None:
    index = index_of([written, "21 May, 2024"], ["What did I say on 20 May 2024?"])
    day, other = index.scores(np.arange(1), np.arange(2))[0]
    assert day > other > 0


def test_what_is_certain_of_an_uncertain_date_counts() -> None:
    index = index_of(["05/06/2024", "May 2024", "soon"], ["in 2024", "in May", "on the 6th of May"])
    assert (index.scores(np.arange(3), np.arange(3)) > 0).tolist() == [[True, True, False], *[[False, True, False]] * 2]


def test_a_session_that_several_haystacks_have_on_one_day_counts_once() -> None:
    sessions = [("a", "8 May, 2023"), ("b", "20 May, 2023"), ("a", "1:56 pm on 8 May, 2023"), ("a", "9 May, 2023")]
    index = DateIndex(sessions, ["on 8 May"])
    assert index.rows(sessions).tolist() == [0, 1, 0, 2]
    apart = index_of(["8 May, 2023", "20 May, 2023", "9 May, 2023"], ["on 8 May"])
    np.testing.assert_array_equal(index.scores(np.arange(1), np.arange(3)), apart.scores(np.arange(1), np.arange(3)))

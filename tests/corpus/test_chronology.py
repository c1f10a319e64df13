from collections.abc import Sequence

import pytest

from memsifter.corpus.chronology import in_time_order, sort_sessions
from memsifter.corpus.records import Issue
from memsifter.corpus.sessions import Haystack, Question, Session, Turn


def haystack(dates: Sequence[str]) -> Haystack:
    sessions = (Session(f"s{n}", date, (Turn("user", str(n)),)) for n, date in enumerate(dates))
    return Haystack("h", tuple(sessions))


def order(dates: Sequence[str]) -> tuple[str, list[str]]:
    """Session numbers in their new order, and the kinds of issues."""
    result, issues = sort_sessions(haystack(dates))
    return "".join(session.session_id[1:] for session in result.sessions), [issue.kind for issue in issues]


def test_sessions_are_sorted_by_date_not_by_place() -> None:
    dates = ["2023/05/28 (Sun) 10:00", "2023/05/20 (Sat) 02:11", "8 May, 2023 at 1:56 pm"]
    assert order(dates) == ("210", ["sessions_out_of_order"])
    assert order(dates[::-1]) == ("012", [])


def test_sessions_of_one_time_keep_their_order() -> None:
    assert order(["2024-05-20", "2024-05-19", "2024-05-20", "2024-05-19"]) == ("1302", ["sessions_out_of_order"])
    # Where one has no time, its day is all that can be compared.
    assert order(["2024-05-20 18:00", "2024-05-20", "2024-05-20 09:00"]) == ("012", [])


def test_times_with_offsets_are_compared_as_points_in_time() -> None:
    assert order(["2024-05-20 23:00+09:00", "2024-05-20 20:00"]) == ("01", [])


@pytest.mark.parametrize(
    ("dates", "kinds"),
    [
        (["2024-05-21", "05/06/2024", "2024-05-19"], ["date_unreadable"]),
        (["2024-05-21", "2024/05/20 (Tue)"], ["date_contradictory"]),
        (["2024-05-21", "", "2024-05-19"], ["date_missing"]),
        (["soon", "", "2024-05-21", "2024-05-19"], ["date_unreadable", "date_missing"]),
        (["2024-05-19", "", "2024-05-21"], []),  # nothing would move
        (["", ""], []),  # a source without dates
    ],
)
def test_where_a_date_is_not_certain_the_files_order_is_kept_and_reported(dates: list[str], kinds: list[str]) -> None:
    assert order(dates) == ("".join(map(str, range(len(dates)))), kinds)


def test_an_issue_counts_the_sessions_and_names_one() -> None:
    _, (issue,) = sort_sessions(haystack(["2024-05-21", "05/06/2024", "06/07/2024"]))
    assert issue.detail == (
        "haystack 'h': 2 of 3 sessions, so the file's order is kept; for example session 's1': '05/06/2024': "
        "day and month could be either; write it as 2024-05-20"
    )


def test_a_questions_own_date_is_reported_too() -> None:
    questions = [
        Question(f"q{n}", "test", "h", "?", date, "x", "c", ()) for n, date in enumerate(("2024-05-20", "soon", ""))
    ]
    records = list(in_time_order([haystack(["2024-05-19"]), *questions]))
    assert [record for record in records if not isinstance(record, Issue)] == [haystack(["2024-05-19"]), *questions]
    assert [record.kind for record in records if isinstance(record, Issue)] == ["question_date_unreadable"]

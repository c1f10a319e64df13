import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsifter.io.display import csv_cell, markdown_code, printable, read_csv_cell


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1 more", "'+1 more"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "'  =1+1"),
        ("\t=1+1", "'\t=1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("'=1", "''=1"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("-0.5", "-0.5"),
        ("+1e-05", "+1e-05"),
        (-0.5, -0.5),
        (None, None),
        ("it's 1 = 1", "it's 1 = 1"),
        ("two\nlines\r\n\tdone", "two\nlines\r\n\tdone"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
    ],
)
def test_what_a_spreadsheet_would_run_is_text(value: object, written: object) -> None:
    assert csv_cell(value) == written


@given(st.text())
def test_a_cell_is_read_as_what_was_written(text: str) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow([csv_cell(text), "end"])
    (row,) = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    row[0].encode()  # fails on half of a surrogate pair
    assert row[0].strip()[:1] not in ("=", "@")
    assert read_csv_cell(row[0]) == printable(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_numbers(number: float) -> None:
    assert csv_cell(number) == number
    assert csv_cell(str(number)) == str(number)


def test_code_in_markdown_stays_in_its_cell() -> None:
    assert markdown_code("a | b`<script>`\n# c\x07") == r"`a \| b'<script>' # c\x07`"

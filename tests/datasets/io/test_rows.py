import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.datasets.io.layout import require_text
from memsifter.datasets.io.rows import Row, iter_csv, iter_rows
from memsifter.errors import DataError

rows = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=6) | st.integers() | st.none()), max_size=5)


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fields_of(reader: Iterator[Row]) -> list[dict[str, Any]]:
    return [row.fields() for row in reader]


@settings(max_examples=50, deadline=None)
@given(rows, st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]], bom: bool
) -> None:
    directory = tmp_path_factory.mktemp("json")
    start = b"\xef\xbb\xbf" if bom else b""
    array = write(directory / "a.json", start + b" \n" + json.dumps(values, indent=2).encode())
    assert fields_of(iter_rows(array)) == values
    if values:
        lines = write(directory / "a.jsonl", start + "\n\n".join(json.dumps(value) for value in values).encode())
        assert fields_of(iter_rows(lines)) == values


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_an_array_is_the_same_in_pieces_of_any_size(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"text": 'é😀\\ " [x]', "n": [1.5, -2e-3, True, None], "k": {"a": "b" * 50}}] * 5
    monkeypatch.setattr("memsifter.datasets.io.json_text._BUFFER_BYTES", size)
    for indent in (None, 3):
        path = write(tmp_path / "a.json", json.dumps(values, ensure_ascii=False, indent=indent))
        assert json.dumps(fields_of(iter_rows(path)), default=float) == json.dumps(values)


def test_exact_digits_survive_in_both_layouts(tmp_path: Path) -> None:
    array = write(tmp_path / "a.json", '[{"answer": 3.50}]')
    lines = write(tmp_path / "a.jsonl", '{"answer": 3.50}\n')
    for row in (*iter_rows(array), *iter_rows(lines)):
        assert require_text(row.fields(), "answer", "row 1") == "3.50"


def test_rows_before_the_damage_are_yielded(tmp_path: Path) -> None:
    reader = iter_rows(write(tmp_path / "a.json", '[{"n": 1}, {"n": '))
    assert next(reader).fields() == {"n": 1}
    with pytest.raises(DataError, match="ends early, at byte 17 after 1 complete rows"):
        next(reader)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.json: the file is empty"),
        (b" \n ", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"hello", "neither Parquet nor JSON; the file starts with b'h'"),
        (b"[", "ends early, at byte 1 after 0 complete rows"),
        (b"[1]", r"not valid UTF-8 JSON after 0 complete rows \(expected an object, found '1'\)"),
        (b'[{"n": 1} {"n": 2}]', "not valid UTF-8 JSON after 1 complete rows"),
        (b'[{"n": 1},]', "not valid UTF-8 JSON after 1 complete rows"),
        (b'[{"n": tru}, {"m": 1234567890}]', "not valid UTF-8 JSON after 0 complete rows"),
        (b'[{"n": "\xff"}]', "not valid UTF-8 JSON after 0 complete rows .*invalid start byte"),
        (b'[{"n": "\xed\xa0\x80"}]', "not valid UTF-8 JSON after 0 complete rows"),
        ('[{"n": 1}]'.encode("utf-16"), "the text is UTF-16; save the file as UTF-8$"),
        (b"[] trailing", "after the array of 0 rows comes 't'"),
        (b'[{"n": 1}][{"n": 2}]', "after the array of 1 rows comes"),
        (b'[{"n": NaN}]', "row 1: NaN is not JSON"),
        (b'[{"n": 1, "n": 2}]', "row 1: the key 'n' is given twice"),
        (b'[{"n": 1e9999999999999999999}]', "row 1: "),
        (b'[{"n": ' + b"9" * 5000 + b"}]", "row 1: "),
        (b'[{"n": ' + b"[" * 100_000, "row 1: nested too deeply"),
    ],
)
def test_a_broken_array_is_one_clear_error(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as error:
        list(iter_rows(write(tmp_path / "a.json", content)))
    assert "\n" not in str(error.value)
    assert error.value.fix


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense", r"line 2: not valid JSON \(Expecting value at character 0\); "),
        (b'{"n": "\xff"}', r"line 2: not UTF-8 \(byte 7\)"),
        (b"[1]", "line 2: expected an object, got a list"),
        (b'{"n": 1}{"n": 2}', "line 2: not valid JSON .Extra data"),
        (b'{"n": NaN}', "line 2: NaN is not JSON"),
        (b'{"n": 1, "n": 1}', "line 2: the key 'n' is given twice"),
        (b'{"n": ' + b"[" * 100_000 + b"}", "line 2: nested too deeply"),
    ],
)
def test_a_broken_line_costs_only_itself(line: bytes, message: str, tmp_path: Path) -> None:
    first, broken, last = iter_rows(write(tmp_path / "a.jsonl", b'{"n": 1}\n' + line + b'\n{"n": 3}\n'))
    assert (first.fields(), last.fields()) == ({"n": 1}, {"n": 3})
    with pytest.raises(DataError, match=message):
        broken.fields()


def test_a_cut_last_line_says_that_the_file_ends_early(tmp_path: Path) -> None:
    *_, last = iter_rows(write(tmp_path / "a.jsonl", '{"n": 1}\n{"n": '))
    with pytest.raises(DataError, match="line 2: not valid JSON") as error:
        last.fields()
    assert "ends early" in error.value.fix


@pytest.mark.parametrize("indent", [1, 2, "\t"])
@pytest.mark.parametrize("count", [1, 2])
def test_objects_over_several_lines_are_rows(indent: int | str, count: int, tmp_path: Path) -> None:
    value = {"id": "ann", "sessions": [{"turns": [{"role": "user", "content": "a\\n{b"}]}], "n": 3}
    path = write(tmp_path / "a.json", "\n".join([json.dumps(value, indent=indent)] * count))
    assert fields_of(iter_rows(path)) == [value] * count
    assert [row.where.rpartition(": ")[2] for row in iter_rows(path)] == [f"row {n + 1}" for n in range(count)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n  "id": "ann",\n  "sessions": [', "row 1: the JSON ends early"),
        ('{\n  "id": nothing,\n  "sessions": [], "questions": []\n}', "row 1: Expecting value"),
        (b'{\n  "id": "\xff"\n}', "row 1: .*invalid start byte"),
        ('{\n  "id": 1,\n  "id": 2\n}', "row 1: the key 'id' is given twice"),
    ],
)
def test_a_broken_object_over_several_lines_is_one_error(content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        list(iter_rows(write(tmp_path / "a.json", content)))


def test_a_first_line_that_was_cut_off_does_not_cost_the_others(tmp_path: Path) -> None:
    first, *others = iter_rows(write(tmp_path / "a.jsonl", '{"n": \n{"n": 2}\n{"n": 3}\n'))
    assert [row.fields() for row in others] == [{"n": 2}, {"n": 3}]
    with pytest.raises(DataError, match="line 1: not valid JSON"):
        first.fields()


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": list(range(1000))}), path)
    assert [row.fields() for row in iter_rows(path)] == [{"n": number} for number in range(1000)]
    write(path, path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(iter_rows(path))


def test_csv_keeps_every_character_between_its_quotes(tmp_path: Path) -> None:
    values = [{"id": "1", "text": 'a "b", c\nd\r\n' + "x" * 200_000}, {"id": "", "text": "é😀"}]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, ["id", "text"])
        writer.writeheader()
        writer.writerows(values)
    assert fields_of(iter_csv(tmp_path / "a.csv")) == values


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    """Not what else Unicode breaks lines at, and `str.splitlines` with it: form feeds, U+0085, U+2028, U+2029."""
    values = [{"text": f"one{end}two"} for end in ("\u0085", "\u2028", "\u2029")]
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\r\n" for value in values)
    assert fields_of(iter_rows(write(tmp_path / "a.jsonl", lines))) == values
    table = "text\n" + "".join(f"{value['text']}\x0c\n" for value in values)
    assert fields_of(iter_csv(write(tmp_path / "a.csv", table))) == [{"text": f"{v['text']}\x0c"} for v in values]


def test_a_csv_row_of_another_length_costs_only_itself(tmp_path: Path) -> None:
    first, short, last = iter_csv(write(tmp_path / "a.csv", "a,b\n1,2\n3\n5,6\n"))
    assert (first.fields(), last.fields()) == ({"a": "1", "b": "2"}, {"a": "5", "b": "6"})
    with pytest.raises(DataError, match="row 2: 1 values for 2 columns"):
        short.fields()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,a\n1,2\n", "the header has a name twice: a, a"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        (b'a,b\n1,"2\n', "not valid CSV"),
    ],
)
def test_a_broken_csv_file_is_one_clear_error(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        list(iter_csv(write(tmp_path / "a.csv", content)))

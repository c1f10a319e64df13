import warnings
from decimal import Decimal
from typing import Any

import pytest

from memsifter.datasets.io.layout import parse_literal, require, require_strings, require_text
from memsifter.errors import MemSifterError


def test_wrong_kind_names_file_row_field_and_both_kinds() -> None:
    with pytest.raises(
        MemSifterError, match=r"^data\.json: row 12: field 'answer': expected a string, got null; write a string there$"
    ):
        require({"answer": None}, "answer", str, "data.json: row 12")


def test_missing_field_lists_the_fields_there_are() -> None:
    with pytest.raises(MemSifterError, match="row 1: field 'answer' is missing; found question, id"):
        require({"question": "?", "id": 1}, "answer", str, "row 1")


def test_a_boolean_is_not_a_whole_number() -> None:
    with pytest.raises(MemSifterError, match="expected a whole number, got a boolean"):
        require({"category": True}, "category", int, "row 1")


def test_a_list_of_strings_names_the_item_that_is_not_one() -> None:
    assert require_strings({"ids": ["a", "b"]}, "ids", "row 1") == ("a", "b")
    with pytest.raises(MemSifterError, match=r"field 'ids'\[1\]: expected a string, got a whole number"):
        require_strings({"ids": ["a", 2]}, "ids", "row 1")


@pytest.mark.parametrize(
    ("value", "text"), [("yes", "yes"), (2022, "2022"), (0, "0"), (Decimal("3.50"), "3.50"), ("", "")]
)
def test_numbers_become_text_as_the_source_wrote_them(value: Any, text: str) -> None:
    assert require_text({"answer": value}, "answer", "row 1") == text


@pytest.mark.parametrize("value", [None, True, ["a"], {}])
def test_other_kinds_are_no_text(value: Any) -> None:
    with pytest.raises(MemSifterError, match="field 'answer': expected a string"):
        require_text({"answer": value}, "answer", "row 1")


@pytest.mark.parametrize("text", ["['a', \"it's\"]", '["a", "it\'s"]'])
def test_lists_are_read_as_json_or_as_python_prints_them(text: str) -> None:
    assert parse_literal(text, list, "all_options", "row 1") == ["a", "it's"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'["a party hat \ud83c\udf89", "une \u00e9charpe"]', ["a party hat 🎉", "une écharpe"]),
        (r'["and\/or"]', ["and/or"]),
        ('["a", null, true]', ["a", None, True]),
        ("['and\\/or', None]", ["and\\/or", None]),  # as Python has it
    ],
)
def test_json_is_read_as_json_wherever_it_is_json(text: str, value: list[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_literal(text, list, "all_options", "row 1") == value


@pytest.mark.parametrize("text", ["", "(a) one", "[1", "__import__('os')", "[" * 5000])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(MemSifterError, match="row 1: field 'all_options': cannot be read"):
        parse_literal(text, list, "all_options", "row 1")

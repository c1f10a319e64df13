"""A params.yaml that is damaged is one line, whatever is in it."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import Params, load_params, parse_params
from memsifter.params.load import read_yaml

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
DEFAULT = yaml.safe_load(TEXT)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(f'*{before}' for _ in range(10))}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"rank: [", "not valid YAML"),
        (b"", "the file: "),
        (b"- a\n- b\n", "the file: "),
        (b"just text", "the file: "),
        (b"rank: {}\nchat: {}\nrank: {}\n", "line 3: the key 'rank' stands twice in one section"),
        ("seed: 7 # für".encode("latin-1"), "not UTF-8 text (byte 11); save it as UTF-8"),
        ("seed: 7".encode("utf-16"), "not UTF-8 text (byte 0)"),
        (b"\x00\x01", "not valid YAML"),
        (b"[" * 1000 + b"]" * 1000, "nested too deeply"),
        (b"[" * 40 + b"]" * 40, "nested too deeply"),
        (b"{a: " * 1000 + b"}" * 1000, "nested too deeply"),
        (BOMB.encode(), "too large"),
        (b"a: &a [*a]", "an alias stands inside of what it refers to"),
        (b"seed: " + b"9" * 5000, "not valid YAML (Exceeds the limit"),
        (b"seed: 2024-13-45", "not valid YAML"),
        (b"seed: !!python/object/apply:os.system [ls]", "not valid YAML"),
        (b"? [a]\n: b", "not valid YAML"),
        (b"0x" + b"f" * 5000, "the file: a number of so many digits"),
        (b"a: !!set {0x" + b"f" * 5000 + b"}", "a.0: a number of so many digits"),
        (b'a: "https://me:hunter2@host', "not valid YAML"),
        (b"a: https://me:hunter2@host: x", "not valid YAML"),
        (b"https://me:hunter2@host: {}\n" * 2, "line 2: the key an address stands twice"),
    ],
)
def test_a_damaged_file_is_one_short_line(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(MemSifterError) as caught:
        load_params(path)
    message = str(caught.value)
    assert expected in message
    assert "hunter2" not in message
    assert "\n" not in message
    assert len(message) < 2000


def test_aliases_are_read_where_they_are_few(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\n")
    assert read_yaml(path) == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": {"x": [1, 2], "y": 3}}


def test_a_byte_order_mark_is_not_a_damage(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8-sig")
    assert load_params(path) == load_params()


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="no such file"):
        load_params(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "models.base.watch",
            "https://me:hunter2@host/x",
            "models.base.watch: holds an address with a password",
        ),
        ("profile", "https://host/x?api_key=hunter2", "profile: holds an address with a password or key"),
        ("rounds.round1.version", "s3://hunter2@bucket", "rounds.round1.version: holds an address"),
        ("datasets.sample.seed", 10**400, "datasets.sample.seed: a number of so many digits"),
        ("chat.stop", ["x" * 100_000], "chat.stop.0: a text of 100000 characters; at most 10000 are allowed"),
        ("chat.prompts.chat", "x" * 300, "chat.prompts.chat: String should have at most 100 characters"),
        (
            "datasets.sample.reader",
            "\x1b[31m\n://u:hunter2@h",
            "datasets.sample: reader is an address; allowed:",
        ),
        ("datasets.sample.reader", "sampel\u202e", r"datasets.sample: reader is 'sampel\u202e'; allowed: 'sample'"),
        ("datasets.sample.reader", 7, "datasets.sample: reader is 7; allowed: 'sample'"),
        # Pydantic's own message would hold the number; pytest makes its failing at that an error.
        *(
            pytest.param(place, 10**5000, f"{place}: a number of so many digits", id=f"many digits, {place}")
            for place in ("datasets.sample.reader", "retrieval.fit.l2", "models.base", "rounds")
        ),
        pytest.param("datasets", {10**5000: {}}, "datasets.[key]: a number of so many digits", id="many digits, key"),
        pytest.param("datasets.sample.reader", {10**5000}, "datasets.sample.reader.0: a number of so many", id="set"),
        ("models", {"https://me:hunter2@host": {}}, "models.an address.ref: missing"),
        ("chat.model", " " * 1000 + "https://me:hunter2@host", "chat.model: "),
    ],
)
def test_what_no_parameter_may_be(place: str, value: Any, expected: str) -> None:
    message = _error_of(lambda: parse_params(_changed(DEFAULT, tuple(place.split(".")), value)))
    assert expected in message
    assert "hunter2" not in message
    assert message.isprintable()
    assert len(message) < 1000


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in a tree, sections and lists included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in items for place in _paths(item, (*path, key))]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**8, 2**31, 2**63, -1, 0, 10**400, float("inf"), float("nan"), 1e308, -0.0])
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["local", "cpu", "cuda", "http://a:99999", "//[", "hf:", "path:", "sample", "a.b", "${x}", "\ud800"]
    )
    | st.binary(max_size=5)
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | SCALARS, inner, max_size=3),
)
EDITS = st.text(string.printable + "äß\u2028\x00", max_size=20) | st.sampled_from(["&a ", "*a", "- ", "{", "'", "\t"])


def _error_of(read: Callable[[], Params]) -> str:
    """The one line that reading ends with; "" for parameters."""
    try:
        read()
    except MemSifterError as error:
        return str(error)
    return ""


def _changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copied = value.copy()
    copied[place[0]] = _changed(value[place[0]], place[1:], new)
    return copied


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(st.tuples(st.sampled_from(_paths(DEFAULT)), VALUES), min_size=1, max_size=3))
def test_generated_values_are_parameters_or_one_line(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    values = DEFAULT
    for place, new in changes:
        try:
            values = _changed(values, place, new)
        except (AttributeError, KeyError, IndexError, TypeError):  # an earlier change took this place away
            continue
    message = _error_of(lambda: parse_params(values))
    assert len(message.splitlines()) <= 1
    assert len(message) < 6000


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, len(TEXT)), length=st.integers(0, 40), inserted=EDITS)
def test_edited_text_is_parameters_or_one_line(start: int, length: int, inserted: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT[:start] + inserted + TEXT[start + length :], encoding="utf-8")
    message = _error_of(lambda: load_params(path))
    assert len(message.splitlines()) <= 1

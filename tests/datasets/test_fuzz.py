"""Input that is wrong in every way: accepted with a faithful round trip, or refused with file, row and field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from damaged_data import ODD_VALUES, READERS, check_outcome, count_questions, paths_of, rows_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsifter.corpus.records import validate
from memsifter.corpus.sessions import Haystack
from memsifter.datasets.flat import FlatReader

CASES = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
ODD = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.text(max_size=8),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=5
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@CASES
@given(data=st.data())
def test_a_damaged_value_is_accepted_faithfully_or_refused(
    reader: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = rows_of(reader)
    row = rows[data.draw(st.integers(0, len(rows) - 1))]
    *parents, last = data.draw(st.sampled_from(list(paths_of(row))[1:]))
    holder: Any = row
    for key in parents:
        holder = holder[key]
    damage = data.draw(st.sampled_from(["replace", "replace", "remove", "double"]))
    if damage == "replace":
        holder[last] = data.draw(ODD)
    elif damage == "remove":
        del holder[last]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_outcome(path, reader, sum(count_questions(reader, row) for row in rows))


@pytest.mark.parametrize("as_array", [True, False])
@settings(CASES, max_examples=250)
@given(data=st.data())
def test_damaged_bytes_are_accepted_faithfully_or_refused(
    as_array: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = rows_of("longmemeval")[:2]
    text = json.dumps(rows) if as_array else "".join(json.dumps(row) + "\n" for row in rows)
    content = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 40)))
        content[start:end] = data.draw(st.binary(max_size=6) | st.sampled_from([b"", b"NaN", b"\xff\xfe", b"[", b'"']))
    path = tmp_path_factory.mktemp("fuzz") / "a.json"
    path.write_bytes(content)
    check_outcome(path, "longmemeval", None)


@settings(CASES, max_examples=200)
@given(
    contents=st.lists(st.lists(st.text(max_size=20), max_size=3), min_size=1, max_size=4),
    date=st.sampled_from(["", "2023/05/20 (Sat) 02:11", "2023-05-20", "1:56 pm on 8 May, 2023", "20.5.2023", "昨天"]),
)
def test_any_text_in_any_number_of_turns_comes_through(
    contents: list[list[str]], date: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = flat_row(
        answer_session_ids=[],
        haystack_session_ids=[f"s{number}" for number in range(len(contents))],
        haystack_dates=[date] * len(contents),
        haystack_sessions=[[{"role": "user", "content": text} for text in turns] for turns in contents],
    )
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    kept = [turns for turns in contents if turns]  # a session without turns is left out, with an issue
    sessions = [
        s for record in validate(FlatReader().read(path)) if isinstance(record, Haystack) for s in record.sessions
    ]
    assert [([turn.content for turn in session.turns], session.date) for session in sessions] == [
        (t, date) for t in kept
    ]
    assert check_outcome(path, "flat", 1) == ((1, 0) if kept else (0, 1))


def flat_row(**changes: Any) -> dict[str, Any]:
    row = {"question_id": "q", "question": "?", "answer": "x", "answer_session_ids": ["s0"]}
    return {
        **row,
        "haystack_session_ids": ["s0"],
        "haystack_sessions": [[{"role": "user", "content": "x"}]],
        **changes,
    }


def said(role: str, content: str) -> dict[str, Any]:
    return flat_row(haystack_sessions=[[{"role": role, "content": content}]])


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (json.dumps([flat_row()])[:-30], (0, -1)),  # truncated
        (json.dumps([flat_row()]) * 2, (0, -1)),  # concatenated
        (json.dumps(flat_row()) * 2, (0, 1)),
        ("\ufeff" + json.dumps(flat_row()) + "\n", (1, 0)),
        (json.dumps([flat_row()]).encode("utf-16"), (0, -1)),
        (json.dumps([flat_row(question="é")], ensure_ascii=False).encode("latin-1"), (0, -1)),
        (json.dumps(flat_row(answer=float("nan"))), (0, 1)),
        (json.dumps(flat_row(answer=5)), (1, 0)),
        (json.dumps(flat_row(question=None)), (0, 1)),
        (json.dumps(flat_row(haystack_sessions=[[]], answer_session_ids=[])), (0, 1)),
        (json.dumps(flat_row(haystack_session_ids=["\ud800"], answer_session_ids=["\ud800"])), (0, 1)),
        (json.dumps(flat_row(haystack_dates=["\udfff"])), (0, 1)),
        (json.dumps(flat_row(haystack_id="\ud800")), (0, 1)),
        (json.dumps(flat_row(question="\ud800")), (0, 1)),
        (json.dumps(said("user", "\ud800")), (0, 1)),
        (json.dumps(said("user", "")), (1, 0)),
        (json.dumps(said("narrator", "x")), (1, 0)),
        (json.dumps(said("", "x")), (0, 1)),
        (json.dumps(flat_row()) + "\n" + json.dumps(flat_row(question="Again?")), (1, 1)),
        (json.dumps(flat_row(answer_session_ids=["gone"])), (0, 1)),
        (json.dumps(said("user", "x" * 1_000_000)), (1, 0)),
        ("", (0, -1)),
        ("[]", (0, 0)),
        ("null", (0, -1)),
    ],
)
def test_hand_made_damage(content: str | bytes, outcome: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert check_outcome(path, "flat", None) == outcome


def test_ten_thousand_sessions_in_one_haystack(tmp_path: Path) -> None:
    sessions = [[{"role": "user", "content": f"number {number}"}] for number in range(10_000)]
    names = [f"s{number}" for number in range(10_000)]
    row = flat_row(haystack_session_ids=names, haystack_sessions=sessions, answer_session_ids=["s9999"])
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row]))
    assert check_outcome(path, "flat", 1) == (1, 0)

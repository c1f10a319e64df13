"""Small sources of the readers, the damage done to them, and the checks of what a reader makes of one."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flat_files import stored_records, write_flat

from memsifter.corpus.records import Record, Refusal, validate
from memsifter.corpus.sessions import Haystack, Question
from memsifter.corpus.store import load_dataset, write_dataset
from memsifter.datasets.chatml import ChatMlReader
from memsifter.datasets.flat import FlatReader
from memsifter.datasets.hotpotqa import HotpotQaReader
from memsifter.datasets.jsonl import JsonlReader
from memsifter.datasets.locomo import LocomoReader
from memsifter.datasets.longmemeval import LongMemEvalReader
from memsifter.datasets.trajectory import TrajectoryReader
from memsifter.errors import DataError

Reader = Callable[[Path], Iterator[Record]]
LAYOUTS = Path(__file__).parent / "datasets" / "layouts"
READERS: dict[str, tuple[str, Reader]] = {
    "flat": ("flat/test.jsonl", lambda path: FlatReader().read(path)),
    "jsonl": ("conversations.jsonl", lambda path: JsonlReader().read(path)),
    "chatml": ("messages.jsonl", lambda path: ChatMlReader().read(path)),
    "longmemeval": ("longmemeval_s_cleaned.json", lambda path: LongMemEvalReader().read(path)),
    "hotpotqa": ("hotpot_dev_distractor_v1.json", lambda path: HotpotQaReader().read(path)),
    "trajectory": ("webdancer.jsonl", lambda path: TrajectoryReader(per_haystack=2).read(path)),
    "locomo": ("", lambda path: LocomoReader(categories=(1, 2, 3, 4, 5)).read(path)),
}
LOCOMO = {
    "sample_id": "c",
    "conversation": {
        "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hi", "blip_caption": "a dog"}],
        "session_1_date_time": "1:56 pm on 8 May, 2023",
    },
    "qa": [{"question": "?", "answer": 2022, "evidence": ["D1:1"], "category": 1}] * 2,
}
ODD_TEXTS = [
    "",
    " ",
    "\ud800",
    "\x00\x07\x1b[31m",
    "\u202eabc\u2066",
    "مرحبا",
    "👨‍👩‍👧‍👦🏳️‍🌈",
    "\ufeff",
    "a\r\nb\u2028c",
    "x" * 100_000,
    "NaN",
    "null",
    "5",
    "2023-13-45",
    "[]",
    '{"a": 1}',
]
ODD_VALUES: list[Any] = [None, True, 0, -1, 1.5, 10**30, [], {}, [None], [[]], {"role": 1}, "user", *ODD_TEXTS]


def rows_of(reader: str) -> list[dict[str, Any]]:
    if reader == "locomo":
        return [copy.deepcopy(LOCOMO)]
    text = (LAYOUTS / READERS[reader][0]).read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        json.loads(text) if text[0] == "[" else [json.loads(line) for line in text.splitlines()]
    )
    return rows


def count_questions(reader: str, row: dict[str, Any]) -> int:
    """How many questions a row holds, told without the reader."""
    name = {"locomo": "qa", "jsonl": "questions", "chatml": "questions"}.get(reader)
    if name is None:
        return 1
    return len(row[name]) if isinstance(row.get(name), list) else 0


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths_of(inner, (*path, key))


def check_outcome(path: Path, reader: str, questions: int | None) -> tuple[int, int]:
    """The numbers of questions accepted and refused (-1: the file as a whole), after the checks for every input."""
    accepted: list[Question] = []
    haystacks: list[Haystack] = []
    refused = 0
    try:
        for record in validate(READERS[reader][1](path)):
            if isinstance(record, Refusal):
                refused += record.questions
                assert path.name in str(record)
                assert any(place in str(record) for place in (": row ", ": line ", ": question ", ": c:"))
                assert record.fix
            elif isinstance(record, Haystack):
                haystacks.append(record)
            elif isinstance(record, Question):
                accepted.append(record)
    except DataError as error:
        check_file_error(error, path)
        return 0, -1
    if questions is not None:
        assert len(accepted) + refused == questions
    if accepted:
        check_round_trip(path.with_suffix(".parquet"), haystacks, accepted)
    return len(accepted), refused


def check_file_error(error: DataError, path: Path) -> None:
    assert path.name in str(error)
    assert error.fix


def check_round_trip(path: Path, haystacks: list[Haystack], questions: list[Question]) -> None:
    """Stored, loaded, written flat and read again, everything is the same."""
    write_dataset([*haystacks, *questions], path.parent / "d")
    dataset = load_dataset(path.parent / "d")
    assert list(stored_records(dataset)) == [*haystacks, *questions]
    write_flat(dataset, path)
    again = list(validate(FlatReader().read(path)))
    assert [record for record in again if isinstance(record, Question)] == questions
    asked = {question.haystack_id for question in questions}
    expected = {haystack.haystack_id: haystack for haystack in haystacks if haystack.haystack_id in asked}
    assert {record.haystack_id: record for record in again if isinstance(record, Haystack)} == expected

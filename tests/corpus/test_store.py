from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from flat_files import stored_records
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.corpus.records import Issue, Record
from memsifter.corpus.sessions import Haystack, Question, Session, Turn
from memsifter.corpus.store import build_dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, read_parquet, write_table

HELLO = (Turn("user", "Hello"), Turn("assistant", "Hi"))
WEATHER = (Turn("user", "Rain again?"), Turn("assistant", "Yes."))
FIRST = Haystack("h1", (Session("s1", "2023/01/01", HELLO), Session("s2", "2023/01/02", WEATHER)))
SECOND = Haystack("h2", (Session("a", "", HELLO),))
RAIN = Question("q1", "train", "h1", "Does it rain?", "2023/02/01", "yes", "single-hop", ("s2",))
WHO = Question("q2", "test", "h2", "Who spoke?", "", "", "adversarial", ())
RECORDS: tuple[Record, ...] = (Issue("odd", "something"), FIRST, RAIN, SECOND, Issue("odd", "again"), WHO)


def test_dataset_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_dataset(RECORDS, tmp_path / "d")
    dataset = load_dataset(tmp_path / "d")
    assert list(stored_records(dataset)) == [FIRST, SECOND, RAIN, WHO]
    assert dataset.haystack_of(WHO).session_ids == ("a",)
    assert dataset.text(FIRST.sessions[1].key) == "user: Rain again?\nassistant: Yes."


def test_equal_sessions_are_stored_once(tmp_path: Path) -> None:
    write_dataset(RECORDS, tmp_path / "d")
    keys = load_dataset(tmp_path / "d").session_keys
    assert keys == tuple(session.key for session in FIRST.sessions)


def test_within_a_collection_a_dataset_keeps_its_questions_and_haystacks(tmp_path: Path) -> None:
    new = Session("n", "2024", (Turn("user", "Snow!"),))
    own = build_dataset([Haystack("h1", (SECOND.sessions[0], new)), replace(RAIN, answer_session_ids=("n",))])
    write_dataset(RECORDS, tmp_path / "d")
    joined = own.within(load_dataset(tmp_path / "d"))
    assert [question.question_id for question in joined.questions] == ["q1"]
    # The collection first, in its order: sums of floats depend on it. No haystack is lost; what both have stands once.
    names = [(name, index.session_ids) for name, index in joined.haystacks.items()]
    assert names == [("h1'", ("s1", "s2")), ("h2", ("a",)), ("h1", ("a", "n"))]
    assert joined.session_keys == (*(session.key for session in FIRST.sessions), new.key)
    assert [joined.turns(key) for key in joined.session_keys] == [HELLO, WEATHER, new.turns]
    assert joined.asked_keys == (SECOND.sessions[0].key, new.key), "what no question is asked of is not embedded"


def test_report_counts_everything(tmp_path: Path) -> None:
    report = write_dataset(RECORDS, tmp_path / "d")
    assert report == {
        "haystacks": 2,
        "sessions": 3,
        "unique_sessions": 2,
        "questions": 2,
        "questions_by_split": {"test": 1, "train": 1},
        "questions_by_category": {"adversarial": 1, "single-hop": 1},
        "questions_without_gold": 1,
        "questions_refused": 0,
        "issues": {"odd": 2},
        "issue_examples": {"odd": ["something", "again"]},
    }
    assert read_json(tmp_path / "d" / "report.json") == report


def test_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset(RECORDS, tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_more_rows_than_a_row_group(tmp_path: Path) -> None:
    haystack = Haystack("h", tuple(Session(f"s{n}", "", (Turn("user", str(n)),)) for n in range(1300)))
    questions = [replace(RAIN, question_id=f"q{n}", haystack_id="h", answer_session_ids=(f"s{n}",)) for n in range(600)]
    write_dataset([haystack, *questions], tmp_path / "d")
    assert list(stored_records(load_dataset(tmp_path / "d"))) == [haystack, *questions]


def test_only_the_splits_asked_for_are_loaded(tmp_path: Path) -> None:
    write_dataset(RECORDS, tmp_path / "d")
    assert load_dataset(tmp_path / "d", ["train"]).questions == (RAIN,)
    write_dataset([FIRST, RAIN], tmp_path / "d")
    with pytest.raises(MemSifterError, match=r"no question in split\(s\) test"):
        load_dataset(tmp_path / "d", ["test"])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([FIRST, FIRST, RAIN], "haystack id 'h1' appears twice"),
        ([FIRST, RAIN, RAIN], "question id 'q1' appears twice"),
        ([RAIN, FIRST], "question 'q1': haystack 'h1' does not exist"),
        ([FIRST, replace(RAIN, answer_session_ids=("gone",))], r"gold session\(s\) \['gone'\]"),
        ([Haystack("h1", ()), RAIN], "no sessions"),
        ([FIRST], "the source holds no questions"),
        ([], "the source holds no questions"),
    ],
)
def test_invalid_records_leave_nothing_behind(records: Sequence[Record], message: str, tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=message):
        write_dataset(records, tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_fails_halfway_leaves_the_old_dataset(tmp_path: Path) -> None:
    def failing() -> Iterator[Record]:
        yield SECOND
        yield WHO
        raise MemSifterError("source.json: row 3: broken")

    write_dataset(RECORDS, tmp_path / "d")
    with pytest.raises(MemSifterError, match="row 3"):
        write_dataset(failing(), tmp_path / "d")
    assert load_dataset(tmp_path / "d").questions == (RAIN, WHO)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_new_dataset_replaces_the_old_one_whole(tmp_path: Path) -> None:
    write_dataset(RECORDS, tmp_path / "d")
    (tmp_path / "d" / "stray.txt").write_text("left over")
    write_dataset([SECOND, WHO], tmp_path / "d")
    assert list(stored_records(load_dataset(tmp_path / "d"))) == [SECOND, WHO]
    assert not (tmp_path / "d" / "stray.txt").exists()


def test_missing_and_broken_datasets_are_named(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"haystacks\.parquet: no such file"):
        load_dataset(tmp_path)
    write_dataset(RECORDS, tmp_path / "d")
    (tmp_path / "d" / "questions.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(MemSifterError, match=r"questions\.parquet: not a readable Parquet file"):
        load_dataset(tmp_path / "d")


turns = st.lists(st.builds(Turn, st.text(min_size=1, max_size=4), st.text(max_size=6)), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=5), turns), min_size=1, max_size=6))
def test_any_text_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[tuple[str, list[Turn]]]
) -> None:
    directory = tmp_path_factory.mktemp("store") / "d"
    haystack = Haystack("h", tuple(Session(f"s{n}", date, tuple(said)) for n, (date, said) in enumerate(sessions)))
    question = replace(WHO, haystack_id="h", answer_session_ids=tuple(f"s{n}" for n in range(len(sessions))))
    write_dataset([haystack, question], directory)
    assert list(stored_records(load_dataset(directory))) == [haystack, question]


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("haystacks", [1], "question 'q1' asks haystack 'h1', which haystacks.parquet does not hold"),
        ("haystacks", [0, 1, 1], "haystacks.parquet: a haystack_id stands there twice"),
        ("sessions", [0], "haystack 'h1' names session"),
        ("questions", [0, 0], "questions.parquet: a question_id stands there twice"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(
    name: str, rows: list[int], expected: str, tmp_path: Path
) -> None:
    write_dataset(RECORDS, tmp_path / "d")
    path = tmp_path / "d" / f"{name}.parquet"
    write_table(path, read_parquet(path).take(rows))
    with pytest.raises(MemSifterError) as caught:
        load_dataset(tmp_path / "d")
    assert expected in str(caught.value)

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.memory import HashedEncoder
from memsifter.corpus.sessions import Haystack, Question, Turn
from memsifter.corpus.store import build_dataset
from memsifter.datasets.sample.reader import SampleReader
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT
from memsifter.params import Bm25Params, EmbedParams
from memsifter.retrieval.bm25 import read_terms
from memsifter.retrieval.lexical import LexicalIndex
from memsifter.sifter import memory_tables
from memsifter.sifter.memory import Memory
from memsifter.sifter.settings import SifterSettings
from memsifter.sifter.sifter import Sifter

CAT = {"id": "cat", "date": "2024-05-20", "turns": [{"role": "user", "content": "My cat Momo is ill."}]}
BIKE = {"id": "bike", "date": "2023-03-01", "turns": [{"role": "user", "content": "I bought a red bicycle in Turin."}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.sqlite"


@pytest.fixture
def memory(path: Path, sifter: Sifter) -> Iterator[Memory]:
    with Memory(path, sifter) as opened:
        yield opened
        assert opened.check() == []


def test_what_was_added_is_found_also_by_the_next_process(memory: Memory, path: Path) -> None:
    assert memory.add("ann", CAT) == "added"
    assert memory.add_many("ann", [BIKE, [{"role": "user", "content": "Lentils?"}]]) == ["added", "added"]
    found = memory.search("ann", "What is my cat called?", "2024-06-01")
    assert (found[0].id, found[0].index, found[0].excerpt) == ("cat", 0, "user: My cat Momo is ill.")
    with Sifter(HashedEncoder()) as other, Memory(path, other) as again:
        assert again.search("ann", "What is my cat called?", "2024-06-01") == found
        assert [session.session_id for session in again.sessions("ann")][:2] == ["cat", "bike"]


def test_adding_again_changes_nothing_and_a_longer_session_takes_its_place(memory: Memory) -> None:
    assert [memory.add("ann", CAT), memory.add("ann", CAT), memory.add("ann", BIKE)] == ["added", "unchanged", "added"]
    longer = CAT | {"turns": [*CAT["turns"], {"role": "user", "content": "Momo is fine again."}]}
    assert memory.add("ann", longer) == "replaced"
    assert [len(session.turns) for session in memory.sessions("ann")] == [2, 1]
    assert memory.search("ann", "Momo fine again?")[0].excerpt.endswith("Momo is fine again.")
    assert memory.add("ann", longer | {"date": "2024-05-21"}) == "replaced"
    unnamed = {"turns": CAT["turns"]}
    assert [memory.add("bob", unnamed), memory.add("bob", unnamed)] == ["added", "unchanged"]


def test_nothing_is_embedded_twice(memory: Memory, encoder: HashedEncoder, history: list[dict[str, Any]]) -> None:
    memory.add_many("ann", history)
    embedded = len(encoder.texts)
    assert embedded == len(set(encoder.texts))
    memory.add_many("bob", [session | {"id": f"b{number}"} for number, session in enumerate(history)])
    memory.add("ann", history[0] | {"date": "2025-01-01"})
    assert len(encoder.texts) == embedded


def test_a_search_is_what_the_sifter_finds_in_the_same_sessions(
    memory: Memory, sifter: Sifter, sample: tuple[Haystack, list[Question]]
) -> None:
    haystack, questions = sample
    memory.add_many("other", [CAT, BIKE])
    # One after the other in another order, and one of them twice.
    for session in (*reversed(haystack.sessions), replace(haystack.sessions[4], session_id="twin", date="")):
        memory.add("ann", session)
    memory.add_many("other", [CAT | {"id": "x"}])
    for question in questions:
        asked = (question.question, question.question_date)
        found = memory.search("ann", *asked, top_k=31)
        assert found == sifter.sift(asked[0], memory.sessions("ann"), asked[1], top_k=31)


def test_a_collection_counts_for_a_memory_as_it_does_for_the_sifter(
    path: Path, encoder: HashedEncoder, sample: tuple[Haystack, list[Question]]
) -> None:
    haystack, questions = sample
    collection = build_dataset(SampleReader(reader="sample", seed=5, haystacks=2).generate())
    with Sifter(encoder, collection=collection) as among, Memory(path, among) as memory:
        memory.add_many("ann", haystack.sessions)
        found = [memory.search("ann", question.question, question.question_date, 31) for question in questions]
        assert found == [
            among.sift(question.question, memory.sessions("ann"), question.question_date, 31) for question in questions
        ]
        with Sifter(encoder) as alone:
            asked = questions[0].question, memory.sessions("ann"), questions[0].question_date, 31
            assert alone.sift(*asked) != found[0]


def test_users_see_their_own_sessions_alone(memory: Memory) -> None:
    memory.add("ann", CAT)
    memory.add("bob", BIKE)
    assert [session.id for session in memory.search("bob", "What is my cat called?")] == ["bike"]
    assert memory.search("eve", "What is my cat called?") == []
    assert memory.users() == ["ann", "bob"]
    with pytest.raises(MemSifterError, match="no session of user 'eve'"):
        memory.answer("eve", "x", base_url="http://localhost:1/v1", model="m")


def test_what_is_deleted_leaves_nothing_behind(memory: Memory, path: Path) -> None:
    shared = {"id": "shared", "turns": [{"role": "user", "content": "Lentils with vinegar."}]}
    memory.add_many("ann", [CAT, BIKE, shared])
    memory.add("bob", shared)
    assert memory.delete("ann", "cat") == 1
    assert memory.delete("ann", "cat") == 0
    assert [session.id for session in memory.search("ann", "Momo", top_k=1)] != ["cat"]
    assert memory.check() == []
    assert memory.delete("ann") == 2
    assert memory.check() == []
    assert memory.users() == ["bob"]
    assert memory.search("bob", "vinegar")[0].id == "shared"
    content = written(path)
    assert b"vinegar" in content
    for word in (b"Momo", b"momo", b"Turin", b"bicycl", b"ann"):
        assert word not in content, word
    assert memory.delete("bob") == 1
    tables = ("sessions", "contents", "units", "vectors")
    rows = sqlite3.connect(path)
    assert [rows.execute(f"SELECT count(*) FROM {name}").fetchone() for name in tables] == [(0,)] * 4  # noqa: S608


@pytest.fixture
def reader(memory: Memory, path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that reads the memory as it was once ann had told of her cat."""
    memory.add("ann", CAT)
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        opened.execute("BEGIN")
        assert opened.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
        yield opened


def written(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_content_that_a_reader_keeps_from_being_overwritten_is_told_and_then_overwritten(
    memory: Memory, path: Path, reader: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_tables, "BUSY_S", 0.2)
    problem = r"the content is deleted, but memory\.sqlite-wal may still hold it, .*; call delete again when they have"
    for _ in range(2):
        with pytest.raises(MemSifterError, match=problem):
            memory.delete("ann")
        assert memory.sessions("ann") == []
        assert b"Momo" in written(path)
    reader.execute("COMMIT")
    assert memory.delete("ann") == 0
    assert b"Momo" not in written(path)


def test_delete_waits_for_a_reader_without_holding_up_others(
    memory: Memory, path: Path, reader: sqlite3.Connection
) -> None:
    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(memory.delete, "ann")
        while memory.sessions("ann"):
            time.sleep(0.01)
        assert memory.add("bob", BIKE) == "added"
        assert not deleting.done()
        reader.execute("COMMIT")
        assert deleting.result(timeout=20) == 1
    assert b"Momo" not in written(path)


def test_what_a_replacement_drops_is_overwritten_unless_it_is_still_read(
    memory: Memory, path: Path, reader: sqlite3.Connection
) -> None:
    other = CAT | {"turns": [{"role": "user", "content": "My dog Rex is ill."}]}
    assert memory.add("ann", other) == "replaced"
    assert b"Momo" in written(path)
    reader.execute("COMMIT")
    assert memory.add("ann", other | {"turns": BIKE["turns"]}) == "replaced"
    for word in (b"Momo", b"Rex"):
        assert word not in written(path), word


def test_threads_and_processes_may_add_at_once(path: Path, encoder: HashedEncoder) -> None:
    def add(worker: int) -> None:
        with Memory(path, sifter) as memory:
            for number in range(12):
                text = f"note {number} of everybody"
                memory.add(f"user{worker % 2}", {"id": f"{number}", "turns": [{"role": "user", "content": text}]})
                if number % 4 == 3:
                    memory.delete(f"user{worker % 2}", f"{number}")

    with Sifter(encoder) as sifter:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(4)))
        with Memory(path, sifter) as memory:
            assert memory.check() == []
            for user in ("user0", "user1"):
                assert {int(session.session_id) for session in memory.sessions(user)} >= {0, 1, 2, 4, 5, 6, 8, 9, 10}


def test_one_memory_may_be_shared_by_threads(memory: Memory, history: list[dict[str, Any]]) -> None:
    def work(number: int) -> int:
        memory.add("ann", history[number])
        return len(memory.search("ann", "What did I buy?", top_k=100))

    with ThreadPoolExecutor(6) as pool:
        assert max(pool.map(work, range(24))) == 24


@pytest.mark.slow
def test_kills_while_adding_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.memory", "--kills", "8", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.fullmatch(r"8 kills, (\d+) sessions acknowledged: nothing lost\n", done.stdout)
    assert counts
    assert int(counts[1]) > 0


def test_a_write_that_fails_keeps_nothing(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.add("ann", CAT)

    def fail(*_: Any) -> str:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(memory_tables, "put_session", fail)
        with pytest.raises(MemSifterError, match=r"disk is full; nothing of this call was kept"):
            memory.add("ann", BIKE)
    assert memory.check() == []
    assert memory.add("ann", BIKE) == "added"


def test_a_disk_that_fills_up_is_told_and_leaves_a_memory_that_works(memory: Memory) -> None:
    memory.add("ann", CAT)
    [[pages]] = memory._connection.execute("PRAGMA page_count")
    memory._connection.execute(f"PRAGMA max_page_count = {pages}")
    long = {"turns": [{"role": "user", "content": "lentils " * 5000}]}
    with pytest.raises(MemSifterError, match="is full; nothing of this call was kept; free some space, then try again"):
        memory.add("ann", long)
    memory._connection.execute("PRAGMA max_page_count = 1000000")
    assert memory.add("ann", long) == "added"


def test_a_damaged_memory_is_one_error_and_never_told_to_be_deleted(
    path: Path, sifter: Sifter, history: list[dict[str, Any]]
) -> None:
    with Memory(path, sifter) as memory:
        memory.add_many("ann", history)
    problem = f"{re.escape(str(path))}: .*malformed.*; it is no memory, or a damaged one: name another file, or restore"
    with Memory(path, sifter) as memory:
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        add, search = partial(memory.add, "ann", CAT), partial(memory.search, "ann", "Momo")
        for call in (memory.users, memory.check, search, add, partial(memory.delete, "ann")):
            with pytest.raises(MemSifterError, match=problem):
                call()
    with pytest.raises(MemSifterError, match=problem):
        Memory(path, sifter)


def test_a_database_of_something_else_stays_as_it_is(path: Path, sifter: Sifter) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE experiments(name TEXT)")
    content = path.read_bytes()
    with pytest.raises(MemSifterError, match=r"a database of something else \(it has experiments\); name the file"):
        Memory(path, sifter)
    assert (written(path), list(path.parent.iterdir())) == (content, [path])


def test_another_embedder_or_another_file_is_refused(path: Path, sifter: Sifter, tmp_path: Path) -> None:
    with Memory(path, sifter) as memory:
        memory.add("ann", CAT)
    params = EmbedParams(chunk_tokens=64, chunk_overlap=16)
    with (
        Sifter(HashedEncoder(params), replace(SifterSettings(), embed=params)) as other,
        pytest.raises(MemSifterError, match=r"its settings is .*192.*, the sifter's is .*64"),
    ):
        Memory(path, other)
    text = tmp_path / "notes.txt"
    text.write_text("no database, but a text that is long enough" * 100)
    with pytest.raises(MemSifterError, match=r"notes.txt: file is not a database; it is no memory, or a damaged one"):
        Memory(text, sifter)


def test_terms_are_read_again_where_the_library_reads_them_in_another_way(
    path: Path, sifter: Sifter, history: list[dict[str, Any]]
) -> None:
    with Memory(path, sifter) as memory:
        memory.add_many("ann", history)
        found = memory.search("ann", "What did I buy?")
    rows = sqlite3.connect(path)
    rows.execute("UPDATE contents SET terms = x'0200000001000000' || CAST('[]' AS BLOB) || x'00000000'")
    rows.execute("UPDATE meta SET value = 'older' WHERE name = 'analysis'")
    rows.commit()
    with Memory(path, sifter) as memory:
        assert memory.search("ann", "What did I buy?") == found


@pytest.mark.parametrize("user", ["", None, 5])
def test_a_user_needs_a_name(memory: Memory, user: Any) -> None:
    with pytest.raises(MemSifterError, match="user: expected a text that is not empty"):
        memory.add(user, CAT)


def test_those_before_a_malformed_session_are_kept(memory: Memory) -> None:
    many = [{"id": str(number), "turns": CAT["turns"]} for number in range(70)]
    with pytest.raises(MemSifterError, match=r"sessions\[70\]: neither 'turns' nor 'messages'"):
        memory.add_many("ann", [*many, {}])
    assert len(memory.sessions("ann")) == 64


WORDS = st.text(alphabet=st.sampled_from("abcé 北京12.-'"), max_size=20)
TURNS = st.lists(st.builds(Turn, st.sampled_from(["user", "Ann"]), WORDS), min_size=1, max_size=4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(sessions=st.lists(TURNS, min_size=1, max_size=4), questions=st.lists(WORDS, min_size=1, max_size=3))
def test_kept_terms_give_the_scores_of_terms_read_anew(sessions: list[list[Turn]], questions: list[str]) -> None:
    params = Bm25Params()
    kept = [memory_tables._unpack(memory_tables._pack(read_terms(turns))) for turns in sessions]
    anew, again = LexicalIndex(sessions, questions, params), LexicalIndex(sessions, questions, params, kept)
    asked, scored = np.arange(len(questions)), np.arange(len(sessions))
    for name in ("session_scores", "phrase_scores", "speaker_scores"):
        np.testing.assert_array_equal(getattr(anew, name)(asked, scored), getattr(again, name)(asked, scored))
    for size in (1, 4):
        for one, other in zip(
            anew.window_scores(asked, scored, size), again.window_scores(asked, scored, size), strict=True
        ):
            np.testing.assert_array_equal(one, other)

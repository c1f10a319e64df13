import pickle
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from memsifter.chat.cache import AnswerCache
from memsifter.chat.reply import Answer
from memsifter.errors import MemSifterError

ANSWER = Answer('naïve "text"\n中🙂', "stop", 12, None)


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def alter(directory: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(directory / "cache.db") as connection:
        connection.execute(statement, values)
    connection.close()


def test_an_answer_comes_back_marked_as_cached(tmp_path: Path) -> None:
    AnswerCache(tmp_path).put("key", ANSWER)
    reopened = AnswerCache(tmp_path)
    assert reopened.get("key") == Answer(ANSWER.text, "stop", 12, None, cached=True)
    assert reopened.get("other") is None


def test_a_long_answer_comes_back(tmp_path: Path) -> None:
    answer = Answer("long " * 100_000, "length", 1, 2)
    AnswerCache(tmp_path).put("key", answer)
    found = AnswerCache(tmp_path).get("key")
    assert found is not None
    assert found.text == answer.text


def test_a_pickle_in_the_cache_is_not_loaded(tmp_path: Path) -> None:
    cache, trace = AnswerCache(tmp_path / "cache"), tmp_path / "trace"
    cache.put("key", ANSWER)
    cache.close()
    mode_pickle = 4
    bomb = pickle.dumps(Bomb(trace))
    alter(tmp_path / "cache", "UPDATE Cache SET mode = ?, value = ?", mode_pickle, sqlite3.Binary(bomb))
    with pytest.raises(MemSifterError, match="a pickled value"):
        AnswerCache(tmp_path / "cache").get("key")
    assert not trace.exists()
    pickle.loads(bomb)  # noqa: S301 - shows that the bomb would have worked
    assert trace.exists()


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "[]",
        '"text"',
        '{"text": "x"}',
        '{"text": "x", "finish_reason": null, "prompt_tokens": null, "completion_tokens": null, "more": 1}',
        '{"text": "x", "finish_reason": ["stop"], "prompt_tokens": null, "completion_tokens": null}',
        '{"text": "x", "finish_reason": null, "prompt_tokens": "7", "completion_tokens": null}',
        '{"text": "a parrot \\ud83e", "finish_reason": null, "prompt_tokens": null, "completion_tokens": null}',
    ],
)
def test_an_unreadable_entry_is_absent_and_is_replaced(tmp_path: Path, value: str) -> None:
    cache = AnswerCache(tmp_path)
    cache.put("key", ANSWER)
    alter(tmp_path, "UPDATE Cache SET value = ?", value)
    assert cache.get("key") is None
    assert cache.put("key", ANSWER) == ANSWER
    assert cache.get("key") == replace(ANSWER, cached=True)


def test_the_first_answer_to_a_request_is_the_one_that_is_kept(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    cache.put("key", ANSWER)
    assert cache.put("key", replace(ANSWER, text="another")) == replace(ANSWER, cached=True)


@pytest.mark.parametrize("wrong", [{"text": None}, {"finish_reason": ["stop"]}, {"prompt_tokens": "7"}])
def test_what_is_no_answer_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        replace(ANSWER, **wrong)


def test_a_damaged_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(MemSifterError, match="delete it"):
        AnswerCache(tmp_path)


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from memsifter.chat.cache import AnswerCache;"
        "from memsifter.chat.reply import Answer; cache = AnswerCache(Path(sys.argv[1]));"
        "[cache.put(f'{sys.argv[2]}-{n}', Answer(str(n), None, n, n)) for n in range(100)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    cache = AnswerCache(tmp_path)
    answers = [cache.get(f"{name}-{number}") for name in "abc" for number in range(100)]
    assert [answer.text for answer in answers if answer] == [str(number) for _ in "abc" for number in range(100)]


def test_nothing_is_ever_evicted(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    text = "x" * 40_000
    alter(tmp_path, "UPDATE Settings SET value = 1000 WHERE key = 'size_limit'")
    cache = AnswerCache(tmp_path)
    for number in range(30):
        cache.put(str(number), Answer(text, None, None, None))
    assert all(cache.get(str(number)) for number in range(30))

from pathlib import Path

import diskcache
import pytest

from memsifter.errors import MemSifterError
from memsifter.io.text_cache import TextCache


def test_a_text_is_kept_for_the_next_process(tmp_path: Path) -> None:
    first = TextCache(tmp_path)
    first.put("key", "naïve 你好")
    first.close()
    assert TextCache(tmp_path).get("key") == "naïve 你好"
    assert TextCache(tmp_path).get("other") is None


def test_the_first_of_two_texts_is_kept(tmp_path: Path) -> None:
    here, there = TextCache(tmp_path), TextCache(tmp_path)
    assert here.add("key", "first") == "first"
    assert there.add("key", "second") == "first"
    assert there.get("key") == "first"


def test_texts_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    cache = TextCache(tmp_path)
    with pytest.raises(TypeError, match="the cache holds text, not int"):
        cache.put_all({"first": "text", "second": 2})  # type: ignore[dict-item]
    assert cache.get("first") is None
    cache.put_all({"first": "text", "second": "more"})
    assert (cache.get("first"), cache.get("second")) == ("text", "more")


def test_a_pickled_value_is_refused_and_not_loaded(tmp_path: Path) -> None:
    diskcache.Cache(str(tmp_path)).set("key", {"pickled": object})
    with pytest.raises(MemSifterError, match="pickled"):
        TextCache(tmp_path).get("key")


def test_a_damaged_cache_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(MemSifterError, match="delete it"):
        TextCache(tmp_path)


def test_a_full_disk_is_not_a_damaged_cache(tmp_path: Path) -> None:
    cache = TextCache(tmp_path)
    cache.put("key", "text")
    pages = cache._entries._sql("pragma page_count").fetchone()[0]
    cache._entries._sql(f"pragma max_page_count={pages}")  # SQLite reports it as it does a full disk
    with pytest.raises(MemSifterError, match=rf"^{tmp_path}: the disk is full; free some space"):
        cache.put("other", "x" * 30_000)
    assert cache.get("key") == "text"

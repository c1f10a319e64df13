import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from memsifter.datasets.flat import FlatReader
from memsifter.datasets.hotpotqa import HotpotQaReader
from memsifter.datasets.jsonl import JsonlReader
from memsifter.datasets.personamem import PersonaMemReader
from memsifter.datasets.personamem_v2 import PersonaMemV2Reader
from memsifter.datasets.registry import resolve_source
from memsifter.errors import MemSifterError
from memsifter.io.paths import ROOT

CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a file into the download cache as a user does by hand; nothing else can be had."""
    monkeypatch.setattr("memsifter.datasets.registry.cache_directory", lambda name: tmp_path / name)

    def put(name: str) -> Path:
        path = tmp_path / "downloads" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
        return path

    return put


def test_a_url_goes_to_the_download_cache(cached: Callable[[str], Path]) -> None:
    expected = cached("mine/data.jsonl")
    params = FlatReader(url="http://127.0.0.1:1/data.jsonl", sha256=SHA256)
    assert resolve_source(params, "mine") == expected


def test_a_benchmark_of_several_files_is_their_folder(cached: Callable[[str], Path]) -> None:
    folder = cached("personamem_128k/questions_128k.csv").parent
    cached("personamem_128k/shared_contexts_128k.jsonl")
    assert resolve_source(PersonaMemReader(), "personamem_128k") == folder


def test_the_reader_chooses_between_original_and_published_files(cached: Callable[[str], Path]) -> None:
    original = cached("HotpotQA/hotpot_dev_distractor_v1.json")
    cached("HotpotQA/train.parquet")
    cached("HotpotQA/test.parquet")
    assert resolve_source(HotpotQaReader(), "HotpotQA") == original
    assert resolve_source(FlatReader(), "HotpotQA") == original.parent


def test_what_must_be_fetched_by_hand_names_the_page_and_the_place() -> None:
    params = PersonaMemV2Reader(history="32k")
    with pytest.raises(MemSifterError, match=r"by hand from https://.*PersonaMem-v2; put them into data/raw/"):
        resolve_source(params, "personamem_v2_32k")


def test_a_name_outside_the_catalogue_needs_a_path() -> None:
    with pytest.raises(MemSifterError, match=r"datasets\.mine: give a path, or a url .*these need neither: locomo, "):
        resolve_source(FlatReader(), "mine")
    with pytest.raises(MemSifterError, match=r"datasets\.locomo\.reader: jsonl does not read it; set locomo or flat"):
        resolve_source(JsonlReader(), "locomo")


def test_local_path_is_relative_to_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_source(FlatReader(path="pyproject.toml"), "mine") == ROOT / "pyproject.toml"


def test_missing_local_file_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"gone\.parquet: no such file; set datasets\.mine\.path"):
        resolve_source(FlatReader(path=str(tmp_path / "gone.parquet")), "mine")


def test_local_file_is_checked_against_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(CONTENT)
    assert resolve_source(FlatReader(path=str(path), sha256=SHA256), "mine") == path
    with pytest.raises(MemSifterError, match=f"sha256 is {SHA256}, expected {'1' * 64}"):
        resolve_source(FlatReader(path=str(path), sha256="1" * 64), "mine")

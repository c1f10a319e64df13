import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from memsifter.datasets.io.download import SourceFile, download
from memsifter.errors import MemSifterError

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """A loopback server of CONTENT that notes each request's Range header and can misbehave."""

    url: str = ""
    ranges: list[str | None] = field(default_factory=list)
    understands_ranges: bool = True
    break_after: int | None = None
    breaks: int = 1000
    status: int = 200
    content: bytes = CONTENT
    etag: str | None = None


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            same = self.headers.get("If-Range") in (None, state.etag)
            ranged = wanted and state.understands_ranges and same
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and ranged else 0
            if state.status != 200 or start >= len(state.content):
                self.send_error(416 if state.status == 200 else state.status)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(state.content) - start))
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            state.breaks -= 1
            end = None if state.break_after is None or state.breaks < 0 else start + state.break_after
            self.wfile.write(state.content[start:end])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/data.parquet"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def file_of(site: Site, sha256: str | None = SHA256) -> SourceFile:
    return SourceFile(site.url, sha256)


def test_download_is_stored_under_its_name_and_fetched_once(site: Site, tmp_path: Path) -> None:
    path = download(file_of(site), tmp_path / "mine", "mine")
    assert path == tmp_path / "mine" / "data.parquet"
    assert path.read_bytes() == CONTENT
    assert download(file_of(site), tmp_path / "mine", "mine") == path
    assert site.ranges == [None]


def test_a_damaged_cached_file_is_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"damaged")
    assert download(file_of(site), tmp_path, "mine").read_bytes() == CONTENT


def test_a_connection_that_drops_again_and_again_is_taken_up_again(site: Site, tmp_path: Path) -> None:
    site.break_after, site.breaks = 300_000, 4
    assert download(file_of(site), tmp_path, "mine").read_bytes() == CONTENT
    assert site.ranges[0] is None
    offsets = [int(wanted[6:-1]) for wanted in site.ranges[1:] if wanted]
    assert len(offsets) == 4
    assert offsets == sorted(set(offsets))
    assert [path.name for path in tmp_path.iterdir()] == ["data.parquet"]


def test_a_server_that_sends_nothing_more_ends_in_an_error_and_a_part(site: Site, tmp_path: Path) -> None:
    (tmp_path / "data.parquet.part").write_bytes(CONTENT[:400_000])
    site.break_after = 0
    with pytest.raises(MemSifterError, match=r"download failed .*run again to resume it.*datasets\.mine\.path"):
        download(file_of(site), tmp_path, "mine")
    assert (tmp_path / "data.parquet.part").stat().st_size == 400_000
    site.break_after = None
    assert download(file_of(site), tmp_path, "mine").read_bytes() == CONTENT
    assert set(site.ranges) == {"bytes=400000-"}


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.understands_ranges = False
    (tmp_path / "data.parquet.part").write_bytes(CONTENT[:1000])
    assert download(file_of(site), tmp_path, "mine").read_bytes() == CONTENT


def test_a_complete_part_is_only_checked(site: Site, tmp_path: Path) -> None:
    (tmp_path / "data.parquet.part").write_bytes(CONTENT)
    assert download(file_of(site), tmp_path, "mine").read_bytes() == CONTENT


def test_without_a_hash_a_part_is_resumed_only_while_the_file_is_the_same(site: Site, tmp_path: Path) -> None:
    unpinned = file_of(site, None)
    (tmp_path / "data.parquet.part").write_bytes(CONTENT[:1000])
    (tmp_path / "data.parquet.part.etag").write_text('"old"')
    site.etag = '"new"'
    assert download(unpinned, tmp_path, "mine").read_bytes() == CONTENT  # from its start: the server has another file
    (tmp_path / "data.parquet").unlink()
    (tmp_path / "data.parquet.part").write_bytes(CONTENT[:1000])
    (tmp_path / "data.parquet.part.etag").write_text('"new"')
    assert download(unpinned, tmp_path, "mine").read_bytes() == CONTENT
    assert site.ranges == ["bytes=1000-", "bytes=1000-"]


def test_without_a_hash_or_an_etag_a_download_starts_over(site: Site, tmp_path: Path) -> None:
    (tmp_path / "data.parquet.part").write_bytes(b"of another file")
    assert download(file_of(site, None), tmp_path, "mine").read_bytes() == CONTENT
    assert site.ranges == [None]


def test_without_a_hash_the_one_found_is_logged(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "memsifter"):
        download(file_of(site, None), tmp_path, "mine")
    assert SHA256 in caplog.text


def test_wrong_content_is_removed_and_both_hashes_are_named(site: Site, tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=f"sha256 is {SHA256}, expected {'0' * 64}"):
        download(file_of(site, "0" * 64), tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".etag"] == []


def test_a_refusal_names_the_status(site: Site, tmp_path: Path) -> None:
    site.status = 404
    with pytest.raises(MemSifterError, match=r"data\.parquet: download failed \(HTTP status 404\)"):
        download(file_of(site), tmp_path, "mine")


def test_without_a_connection_the_way_out_is_named(site: Site, tmp_path: Path) -> None:
    closed = re.sub(r":\d+/", ":1/", site.url)
    with pytest.raises(MemSifterError, match=r"\(no connection\).*set datasets\.mine\.path and \.watch") as error:
        download(SourceFile(closed, SHA256), tmp_path, "mine")
    assert closed in str(error.value)
    assert f"put it at {tmp_path / 'data.parquet'}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_put_there_by_hand_needs_no_connection(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(CONTENT)
    for sha256 in (None, SHA256):
        assert download(SourceFile("http://127.0.0.1:1/data.parquet", sha256), tmp_path, "mine").exists()


def test_only_http_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match="only http and https"):
        download(SourceFile("file:///etc/hostname", SHA256), tmp_path, "mine")

"""Fetch a file over HTTP: resumed where it broke off, checked, and in place only when complete."""

import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_file

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 16  # what an interrupted download may lose
_TIMEOUT_S = (10, 60)  # connect, read
_TRIES_WITHOUT_PROGRESS = 3


@dataclass(frozen=True)
class SourceFile:
    """One file of a source. `sha256` is None where no copy could be hashed yet; the download then logs what it got."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


def download(file: SourceFile, directory: Path, dataset: str) -> Path:
    """Download a file to `directory`, under its own name, resuming what an interrupted run left in `<name>.part`.

    A file that is there already is returned without any request, unless it does not match `sha256`. A connection that
    drops is taken up again as long as something arrives. Without `sha256` the content's hash is logged, and a resumed
    part is taken up only if the server confirms by its ETag that the file is still the same.

    Raises:
        MemSifterError: not http(s), the server cannot be reached or refuses, the transfer breaks off, or the content
            does not match `sha256` (the partial file is then removed).
    """
    if urlsplit(file.url).scheme not in ("http", "https"):
        raise MemSifterError(f"datasets.{dataset}.url: {file.url}: only http and https can be downloaded")
    target = directory / Path(urlsplit(file.url).path).name
    if target.is_file() and file.sha256 in (None, sha256_file(target)):
        return target
    directory.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        _fetch_all(file, part)
    except requests.RequestException as error:
        raise MemSifterError(
            f"{file.url}: download failed ({_reason(error)}); run again to resume it, or get the file elsewhere and "
            f"put it at {target}, or set datasets.{dataset}.path and .watch to where it is"
        ) from error
    found = sha256_file(part)
    if file.sha256 is None:
        logger.info("%s: downloaded, sha256 %s", file.url, found)
    elif found != file.sha256:
        part.unlink()
        raise MemSifterError(
            f"{file.url}: sha256 is {found}, expected {file.sha256}; the download was removed: run again, or, where "
            f"the source has changed, set datasets.{dataset}.path and .watch to a file that you trust"
        )
    _etag_file(part).unlink(missing_ok=True)
    return part.replace(target)


def _fetch_all(file: SourceFile, part: Path) -> None:
    """Fetch the rest of `part`, again after each break that came with some progress."""
    failures = 0
    while True:
        before = _size(part)
        try:
            _fetch(file, part)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            failures = 0 if _size(part) > before else failures + 1
            if failures == _TRIES_WITHOUT_PROGRESS:
                raise
        else:
            return


def _fetch(file: SourceFile, part: Path) -> None:
    done = _size(part)
    etag = _etag_file(part)
    # Compressed transfer would make the byte offsets of a resumed download meaningless.
    headers = {"Accept-Encoding": "identity"}
    if done and file.sha256 is None and not etag.exists():
        done = 0
    if done:
        headers["Range"] = f"bytes={done}-"
        if file.sha256 is None:
            headers["If-Range"] = etag.read_text(encoding="utf-8")
    with requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        if done and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # everything was fetched before; the caller checks the content
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        etag.unlink(missing_ok=True)
        if tag := response.headers.get("ETag"):
            etag.write_text(tag, encoding="utf-8")
        length = response.headers.get("Content-Length")
        offset = done if resumed else 0
        with (
            part.open("ab" if resumed else "wb") as stream,
            tqdm(
                total=None if length is None else offset + int(length),
                initial=offset,
                unit="B",
                unit_scale=True,
                desc=part.name.removesuffix(".part"),
            ) as progress,
        ):
            for chunk in response.iter_content(_CHUNK_BYTES):
                stream.write(chunk)
                progress.update(len(chunk))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _etag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    return "no connection" if isinstance(error, requests.ConnectionError) else f"it broke off, {type(error).__name__}"

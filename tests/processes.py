"""Whether a process that a test has started is still there."""

from pathlib import Path


def runs(number: int) -> bool:
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

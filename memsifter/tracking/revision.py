"""The Git commit that a run was made from."""

import shutil
import subprocess
from dataclasses import dataclass

from memsifter.io import paths

# DVC rewrites its lock file after every stage; that is no change of the code.
_NOT_DVC_LOCK = ":(exclude,top)dvc.lock"


@dataclass(frozen=True)
class Revision:
    """A commit, and whether tracked files differ from it."""

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return self.commit[:7] + ("+changes" if self.dirty else "")


def read_revision() -> Revision | None:
    """The checked-out commit, or None where there is no Git repository (an unpacked archive) or no commit yet."""
    if shutil.which("git") is None:
        return None
    commit = _git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    return Revision(commit, bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", _NOT_DVC_LOCK)))


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(paths.ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - arguments are constants
    return done.stdout.strip() if done.returncode == 0 else None

"""Copies of the repository in which DVC runs for real."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from memsifter.io.paths import ROOT

# The stages of the coarse filter; in the smoke profile the LLM that it reads with is tiny.
COARSE_STAGES = (
    "models@embedder",
    "models@base",
    "data@sample",
    "embed@sample",
    "score@sample",
    "likelihood@sample",
    "fit_fusion",
    "order@sample",
    "evaluate_coarse@sample",
)
# What needs no training. Every byte of it is the same in every clone; training is not: see README, Reproducibility.
UNTRAINED_STAGES = (
    *COARSE_STAGES,
    "models@reader",
    "models@coarse",
    "models@fitted",
    "rank@base-sample",
    "chat@base-sample",
    "evaluate@base-sample",
    "rank@coarse-sample",
    "chat@coarse-sample",
    "evaluate@coarse-sample",
    "prepare_rl@round1",
)


@dataclass(frozen=True)
class Clone:
    """A repository of its own, with nothing in its caches."""

    root: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command at the clone's root; stdout and stderr come back as one text in `stdout`."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self._environment() | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own; its output goes to `log`."""
        with log.open("wb") as sink:
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=self._environment(),
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        scripts = Path(sys.executable).parent
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
        return kept | {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(self.root)}

    def check(self, *command: str, **environment: str) -> str:
        """Run a command that must succeed; its output."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def compose(self, *overrides: str) -> None:
        """Write params.yaml."""
        self.check("python", "-m", "memsifter", "compose", *overrides)


def make_clone(root: Path) -> Clone:
    """Copy what git knows or would add, as it is in the working tree, and commit it to a new repository at `root`."""
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, text=True
    )
    root.mkdir(parents=True, exist_ok=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    clone = Clone(root)
    clone.check("git", "init", "--quiet")
    _name_author(clone)
    clone.check("git", "add", "--all")
    clone.check("git", "commit", "--quiet", "--message", "clone")
    return clone


def clone_of(source: Clone, root: Path) -> Clone:
    """Clone a clone with git: what is committed there, without its DVC cache and outs."""
    source.check("git", "clone", "--quiet", str(source.root), str(root))
    clone = Clone(root)
    _name_author(clone)
    return clone


def _name_author(clone: Clone) -> None:
    clone.check("git", "config", "user.name", "test")
    clone.check("git", "config", "user.email", "test@localhost")


def stages_run(output: str) -> set[str]:
    """The stages that DVC ran, by what it printed."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def run_coarse_filter(root: Path) -> Clone:
    """A clone in which the stages that need no LLM have run, committed."""
    clone = make_clone(root)
    clone.compose("profile=smoke")
    assert stages_run(clone.check("dvc", "repro", COARSE_STAGES[-1])) == set(COARSE_STAGES)
    clone.check("git", "add", "--all")
    clone.check("git", "commit", "--quiet", "--message", "coarse filter")
    return clone


def copy_of(source: Clone, root: Path) -> Clone:
    """A copy of a clone with its outs, caches and runs."""
    shutil.copytree(source.root, root, symlinks=True)
    return Clone(root)


def run_untrained(coarse: Clone, root: Path) -> Clone:
    """A copy of a clone of `run_coarse_filter` in which the other stages that need no training have run, too."""
    clone = copy_of(coarse, root)
    output = clone.check("dvc", "repro", *UNTRAINED_STAGES)
    assert stages_run(output) == set(UNTRAINED_STAGES) - set(COARSE_STAGES)
    return clone

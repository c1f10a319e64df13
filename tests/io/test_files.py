"""Atomic writes: a reader sees all of a file or nothing, and a killed writer leaves nothing among the outs."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memsifter.io import files
from memsifter.io.files import atomic_directory, atomic_file, write_json, write_text
from memsifter.io.paths import ROOT

WRITER = """
import sys, time
from pathlib import Path
from memsifter.io.files import {kind}

with {kind}(Path(sys.argv[1])) as temporary:
    (temporary if temporary.is_file() else temporary / "part").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What a new process knows of folders: nothing."""
    files._scratch_parent.cache_clear()
    files._remove_leftovers.cache_clear()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository root with the package in it and a folder of outs."""
    root = tmp_path / "repository"
    (root / "memsifter").mkdir(parents=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "memsifter" / name, root / "memsifter")
    shutil.copytree(ROOT / "memsifter" / "io", root / "memsifter" / "io")
    (root / "data" / "scores").mkdir(parents=True)
    (root / "dvc.yaml").touch()  # what tells a repository from an installed package
    return root


def start_writer(root: Path, kind: str, target: str) -> subprocess.Popen[str]:
    """A process that is half done with writing."""
    script = WRITER.format(kind=kind)
    writer = subprocess.Popen([sys.executable, "-c", script, target], cwd=root, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.stdout.close()
    return writer


def write_once(root: Path, target: str) -> None:
    script = "import pathlib, sys; from memsifter.io.files import write_text; write_text(pathlib.Path(sys.argv[1]), '')"
    subprocess.run([sys.executable, "-c", script, target], cwd=root, check=True)


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*.tmp") if path.exists()]


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_directory"])
def test_a_killed_writer_leaves_nothing_among_the_outs(repository: Path, kind: str) -> None:
    writer = start_writer(repository, kind, str(repository / "data" / "scores" / "out"))
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert list((repository / "data").rglob("*")) == [repository / "data" / "scores"]
    assert [path.parent for path in leftovers(repository)] == [repository / ".cache" / "memsifter" / "tmp"]
    write_once(repository, str(repository / "data" / "scores" / "other"))
    assert leftovers(repository) == [], "the next writer sweeps"


def test_what_another_process_is_writing_is_not_swept(repository: Path) -> None:
    writer = start_writer(repository, "atomic_directory", str(repository / "data" / "out"))
    write_once(repository, str(repository / "data" / "other"))
    assert len(leftovers(repository)) == 1
    writer.kill()
    writer.wait()


def test_outs_that_lie_elsewhere_are_written_there(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (repository / "models").symlink_to(tmp_path / "large disk")
    writer = start_writer(repository, "atomic_file", str(repository / "models" / "out"))
    writer.kill()
    writer.wait()
    left = leftovers(tmp_path / "large disk")
    assert [path.name.startswith(".out.") for path in left] == [True]
    write_once(repository, str(repository / "models" / "other"))
    assert [path.name for path in (tmp_path / "large disk").iterdir()] == ["other"]


def test_dvc_does_not_see_temporary_files_that_lie_beside_outs() -> None:
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        for name in (".base.x1y2z3_4.tmp", ".sample.parquet.x1y2z3_4.tmp"):
            assert repo.dvcignore.is_ignored_file(str(ROOT / "data" / name))
        assert not repo.dvcignore.is_ignored_file(str(ROOT / "data" / "sample.parquet"))


def test_where_nothing_can_be_moved_across_mounts_outs_are_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(files, "cache_directory", lambda name: _made(tmp_path / ".cache" / name))
    rename = Path.rename

    def refuse_to_cross(source: Path, target: Path) -> Path:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refuse_to_cross)
    with atomic_file(tmp_path / "data" / "out") as temporary:
        assert temporary.parent.parent == tmp_path / "data"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["out"]
    assert list((tmp_path / ".cache" / "tmp").iterdir()) == []


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def test_a_directory_is_replaced_whole_or_kept(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_directory(tmp_path / "out") as temporary:
            (temporary / content).write_text(content)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "out") as temporary:
        (temporary / "half").write_text(str(1 / 0))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_keeps_its_old_content_when_writing_fails(tmp_path: Path) -> None:
    write_text(tmp_path / "out", "old")
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "out", float("nan"))
    assert (tmp_path / "out").read_text() == "old"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644

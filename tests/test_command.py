import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from processes import runs

from memsifter.preflight import has_gpu

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent

# Stands in for memsifter.tracking.stage_run: writes what the stage reports instead of starting MLflow.
TRACKING = """
import json, pathlib
from contextlib import contextmanager

seen = {"imported": True}

class Run:
    def log_metrics(self, metrics):
        seen["metrics"] = metrics

    def log_step(self, step, metrics):
        seen.setdefault("steps", {})[step] = metrics

@contextmanager
def track_stage(params, name, arguments):
    seen.update(profile=params.profile, name=name, arguments=arguments, outcome="finished")
    try:
        yield Run()
    except BaseException as error:
        seen["outcome"] = type(error).__name__
        raise
    finally:
        pathlib.Path("seen.json").write_text(json.dumps(seen))
"""
STAGE = """
import errno, logging, time
from pathlib import Path
from memsifter.errors import MemSifterError
from memsifter.command import run_stage

def main(params, ranker, dataset):
    logging.getLogger("memsifter.ranking").info("ranking %s", dataset)
    logging.getLogger("some.library").info("noise")
    {body}

if __name__ == "__main__":
    run_stage(main)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository root with the package, parameters and tracking that only takes notes."""
    ignored = shutil.ignore_patterns("__pycache__", "tracking")
    shutil.copytree(ROOT / "memsifter", tmp_path / "memsifter", ignore=ignored)
    shutil.copytree(ROOT / "configs" / "prompts", tmp_path / "configs" / "prompts")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "memsifter" / "tracking").mkdir()
    (tmp_path / "memsifter" / "tracking" / "stage_run.py").write_text(TRACKING)
    (tmp_path / "stages").mkdir()
    return tmp_path


def _write_stage(root: Path, body: str) -> None:
    (root / "stages" / "tiny.py").write_text(STAGE.replace("{body}", body))


def _run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.tiny", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def _seen(root: Path) -> Any:
    return json.loads((root / "seen.json").read_text())


def test_a_stage_is_tracked_with_its_arguments_and_metrics(root: Path) -> None:
    _write_stage(root, "return {'ndcg': 0.5}")
    done = _run(root, "base", "sample")
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith("INFO memsifter.ranking: ranking sample"), "libraries log from WARNING on"
    assert _seen(root) == {
        "imported": True,
        "profile": "local",
        "name": "tiny",
        "arguments": {"ranker": "base", "dataset": "sample"},
        "outcome": "finished",
        "metrics": {"ndcg": 0.5},
    }


def test_a_stage_may_log_steps_while_it_runs(root: Path) -> None:
    _write_stage(root, "log_step(3, {'loss': 0.5})")
    code = (root / "stages" / "tiny.py").read_text()
    (root / "stages" / "tiny.py").write_text(code.replace("ranker, dataset)", "ranker, dataset, *, log_step)"))
    assert _run(root, "base", "sample").returncode == 0
    assert _seen(root)["steps"] == {"3": {"loss": 0.5}}


def test_dvc_names_the_stage(root: Path) -> None:
    _write_stage(root, "return None")
    assert _run(root, "base", "sample", DVC_STAGE="tiny@base-sample").returncode == 0
    assert _seen(root)["name"] == "tiny@base-sample"
    assert _seen(root)["metrics"] == {}


@pytest.mark.parametrize("arguments", [(), ("base",), ("base", "sample", "more")])
def test_a_wrong_number_of_arguments_is_a_usage_error(root: Path, arguments: tuple[str, ...]) -> None:
    _write_stage(root, "pass")
    done = _run(root, *arguments)
    assert done.returncode == 2
    assert done.stderr == f"usage: python -m stages.tiny RANKER DATASET (got {len(arguments)} arguments)\n"


@pytest.mark.parametrize(
    ("body", "error", "outcome"),
    [
        ("raise MemSifterError('a.json: not\\n  JSON')", "a.json: not JSON", "MemSifterError"),
        (r"raise MemSifterError('a\x1b[31m\u202e\ud800')", r"a\x1b[31m\u202e\ud800", "MemSifterError"),
        (
            "raise OSError(errno.ENOSPC, 'No space left on device', '/data/x.parquet')",
            "/data/x.parquet: the disk is full; free some space, then run the same command again",
            "OSError",
        ),
    ],
)
def test_an_error_is_one_line(root: Path, body: str, error: str, outcome: str) -> None:
    _write_stage(root, body)
    done = _run(root, "base", "sample")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [f"memsifter: error: {error}"]
    assert _seen(root)["outcome"] == outcome


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("bass", "sample"), "matrix.rankers has no 'bass'; it has fitted, coarse, base, round1"),
        (("base", "locomo"), "datasets has no 'locomo'; it has sample"),
    ],
)
def test_an_unknown_name_is_one_line(root: Path, arguments: tuple[str, str], error: str) -> None:
    _write_stage(root, "pass")
    done = _run(root, *arguments)
    assert (done.returncode, done.stderr) == (1, f"memsifter: error: {error}\n")


def test_a_write_that_does_not_fit_names_a_directory(root: Path) -> None:
    _write_stage(root, "Path('/dev/full').write_text('x')")
    done = _run(root, "base", "sample")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[1:]
    path = line.removeprefix("memsifter: error: ").partition(": the disk is full")[0]
    assert Path(path).is_dir()


def test_a_full_disk_is_recognised_behind_another_error(root: Path) -> None:
    body = "\n    ".join(
        (
            "try:",
            "    raise OSError(errno.EDQUOT, 'Disk quota exceeded', '/home/x')",
            "except OSError as error:",
            "    raise RuntimeError('cannot save') from error",
        )
    )
    _write_stage(root, body)
    assert "/home/x: the disk is full" in _run(root, "base", "sample").stderr


@pytest.mark.parametrize(
    "body",
    [
        # As safetensors tells it: no OSError, no number.
        "raise RuntimeError('I/O error: No space left on device (os error 28)')",
        # SQLite, as MLflow's store has it.
        "import sqlite3; db = sqlite3.connect('x.db'); db.execute('create table t (x)'); "
        "db.execute('pragma max_page_count=3'); db.execute('insert into t values (zeroblob(99999))')",
    ],
)
def test_a_full_disk_is_recognised_where_a_library_only_says_so(root: Path, body: str) -> None:
    _write_stage(root, body)
    (line,) = _run(root, "base", "sample").stderr.splitlines()[1:]
    assert line.endswith(": the disk is full; free some space, then run the same command again")


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ("for _ in range(99999): print('a line')", 141, ""),
        ("print('a line ' * 99999, flush=True)", 141, ""),
        ("print('a line')", 141, ""),
        ("print('a line'); raise SystemExit(1)", 1, ""),
        ("print('a line'); raise MemSifterError('no such file')", 1, "memsifter: error: no such file\n"),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_any_more_is_no_error(
    root: Path, body: str, code: int, told: str, unbuffered: str
) -> None:
    _write_stage(root, body)
    command = [sys.executable, "-m", "stages.tiny", "base", "sample"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command, cwd=root, env={"PYTHONUNBUFFERED": unbuffered}, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    said = done.stderr.decode().partition("ranking sample\n")[2]
    assert (done.returncode, said) == (141 if unbuffered else code, "" if unbuffered else told)


def test_a_pipe_that_breaks_elsewhere_is_a_bug(root: Path) -> None:
    _write_stage(root, "raise BrokenPipeError(errno.EPIPE, 'Broken pipe')")
    assert _run(root, "base", "sample").stderr.endswith("BrokenPipeError: [Errno 32] Broken pipe\n")


def test_another_machines_full_disk_is_not_taken_for_this_ones(root: Path) -> None:
    _write_stage(root, "raise MemSifterError('the endpoint says: No space left on device')")
    assert _run(root, "base", "sample").stderr.endswith("error: the endpoint says: No space left on device\n")


def test_a_message_cannot_steer_the_terminal(root: Path) -> None:
    _write_stage(root, "raise MemSifterError('no dataset \\x1b[2J')")
    assert _run(root, "base", "sample").stderr.endswith("error: no dataset \\x1b[2J\n")


def test_a_module_that_an_installed_package_lacks_is_a_bug(root: Path) -> None:
    _write_stage(root, "import yaml.nothing")
    done = _run(root, "base", "sample")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'yaml.nothing'" in done.stderr


def test_a_bug_keeps_its_traceback(root: Path) -> None:
    _write_stage(root, "return {}[dataset]")
    done = _run(root, "base", "sample")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("KeyError: 'sample'\n")
    assert _seen(root)["outcome"] == "KeyError"


def test_an_interrupt_is_one_line(root: Path) -> None:
    _write_stage(root, "time.sleep(60)")
    command = [sys.executable, "-m", "stages.tiny", "base", "sample"]
    # A test run in the background ignores SIGINT, and its children would inherit that.
    with subprocess.Popen(
        command, cwd=root, env={}, stderr=subprocess.PIPE, text=True, preexec_fn=_restore_interrupts
    ) as process:
        assert process.stderr is not None
        assert "ranking sample" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == "memsifter: interrupted\n"
    assert _seen(root)["outcome"] == "KeyboardInterrupt"


# Stands in for DVC: starts a stage through the user's shell and waits.
DVC = """
import os, subprocess, sys
shell, command = sys.argv[1:]
subprocess.Popen(command, shell=True, executable=shell, env=os.environ | {"DVC_STAGE": "tiny"}).wait()
"""


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_the_dvc_that_started_it(root: Path, shell: str, sent: signal.Signals) -> None:
    # The stage has a child, as it has vLLM's server, and cleans up.
    body = "\n    ".join(
        (
            "import os, sys; from memsifter.io.process import start_process",
            "command = [sys.executable, '-c', 'import time; time.sleep(60)']",
            "child = start_process(command, Path('log'), os.environ)",
            "print(os.getpid(), child.pid, flush=True)",
            "time.sleep(60)",
        )
    )
    _write_stage(root, body)
    command = f"{sys.executable} -m stages.tiny base sample"
    with subprocess.Popen(
        [sys.executable, "-c", DVC, shell, command], cwd=root, stdout=subprocess.PIPE, text=True
    ) as dvc:
        assert dvc.stdout is not None
        processes = [int(number) for number in dvc.stdout.readline().split()]
        dvc.send_signal(sent)
    deadline = time.monotonic() + 30
    while any(runs(process) for process in processes):
        assert time.monotonic() < deadline, "the stage or its child still runs"
        time.sleep(0.05)
    assert _seen(root)["outcome"] == "KeyboardInterrupt"


def _restore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("rank: {}", "the key 'rank' stands twice"),
        ("rank: [", "params.yaml: not valid YAML"),
        ("rnak: 1", "rnak: unknown key; did you mean rank?"),
    ],
)
def test_wrong_parameters_are_reported_before_tracking_is_imported(root: Path, change: str, error: str) -> None:
    _write_stage(root, "pass")
    (root / "memsifter" / "tracking" / "stage_run.py").write_text("print('imported')")
    with (root / "params.yaml").open("a") as stream:
        stream.write(f"\n{change}\n")
    done = _run(root, "base", "sample")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("memsifter: error: ")
    assert error in line


def test_a_broken_prompt_is_told_by_the_first_stage_of_all(root: Path) -> None:
    _write_stage(root, "pass")
    (root / "configs" / "prompts" / "ranker_small.yaml").write_text("base: 1")
    done = _run(root, "base", "sample")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "ranker_small.yaml: system: Field required" in line


@pytest.mark.skipif(has_gpu(), reason="needs a machine without GPU")
def test_training_that_needs_a_gpu_says_so_before_it_works(root: Path) -> None:
    _write_stage(root, "pass")
    (root / "stages" / "train.py").write_text((root / "stages" / "tiny.py").read_text())
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("\n  device: cpu", "\n  device: cuda", 1))
    command = [sys.executable, "-m", "stages.train", "base", "sample"]
    done = subprocess.run(command, cwd=root, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "train.device of params.yaml ask for a GPU, and this machine shows none" in done.stderr
    assert _run(root, "base", "sample").returncode == 0, "a stage without GPU runs here"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_access_is_one_line(root: Path) -> None:
    (root / "closed").mkdir(mode=0o500)
    _write_stage(root, "Path('closed/x').write_text('x')")
    done = _run(root, "base", "sample")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[1:]
    assert line.startswith("memsifter: error: closed/x: Permission denied; give the user")


def test_an_interrupt_during_the_imports_is_one_line(root: Path) -> None:
    shutil.copy(ROOT / "stages" / "__init__.py", root / "stages")
    (root / "stages" / "tiny.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "stages.tiny"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=root, env={}, stdout=pipe, stderr=pipe, text=True, preexec_fn=_restore_interrupts
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGINT, "130 in a shell"
        assert errors == "memsifter: interrupted\n"

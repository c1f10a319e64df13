"""All benchmarks against a reference way, one after the other, and their page: python -m bench.side_by_side [NAME ...].

Each runs in a process of its own and is stopped after --limit seconds. Its figures are kept in
`docs/results/benchmarks/`, with the day, the commit and the machine's load, so that one that is repeated alone replaces
its own figures and no others; the page is written anew after each. Models that `models/` lacks are prepared in the
cache first, as params.yaml names them.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.side_by_side.page import FIGURES, PAGE, Run, read_runs, stamp, write_page, write_run
from bench.side_by_side.rows import Result, read_result
from memsifter.io.paths import ROOT, cache_directory, model_directory
from memsifter.models import prepare_model
from memsifter.params import load_params

BENCHMARKS: dict[str, list[str]] = {
    "vectors": [],
    "reward": [],
    "coarse": [],
    "retrieval": ["--embedded-sessions", "4"],
    "prepare_rl": ["--haystacks", "2", "--alone", "10"],
    "merge": [],
    "embedding": ["--haystacks", "1"],
    "likelihood": ["--questions", "4", "--dtypes", "float32", "--repeats", "1"],
    "datasets": ["50"],
    "memory": ["--sessions", "1000", "5000", "--haystack", "500"],
    "ranking": ["--questions", "24", "--haystack-tokens", "2400", "--written", "8", "--repeats", "1"],
    "rank_stage": ["--prompts", "32", "--prompt-tokens", "320"],
}
"""What runs, with sizes that keep all of them under 25 minutes on two idle cores; those with engines come last."""

_MODELS = {"retrieval": "embedder", "embedding": "embedder", "prepare_rl": "base", "ranking": "base"}
_MODELS |= {"rank_stage": "base", "likelihood": "base"}


def main() -> None:
    """Run what is named, else all; exit 1 if one of them gave no figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--limit", type=float, default=600, help="seconds that one of them may take")
    parser.add_argument("--page-only", action="store_true", help="write the page from the figures that are kept")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    failed = []
    chosen = [] if options.page_only else options.names or list(BENCHMARKS)
    for name in chosen:
        print(f"{name} {' '.join(BENCHMARKS[name])}", flush=True)
        run = _run(name, options.limit)
        write_run(FIGURES, run)
        failed += [name] if run.problem else []
        _write()
    _write()
    print(f"{PAGE} written")
    if failed:
        parser.exit(1, f"not measured: {', '.join(failed)}\n")


def _write() -> None:
    write_page(PAGE, read_runs(FIGURES, list(BENCHMARKS)), list(BENCHMARKS))


def _run(name: str, limit: float) -> Run:
    arguments, started, problem = list(BENCHMARKS[name]), time.monotonic(), ""
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-") as folder:
        rows = Path(folder, "rows.json")
        command = [sys.executable, "-m", f"bench.{name}", *arguments, "--rows", str(rows)]
        if name in _MODELS:
            command += ["--model", str(_model(_MODELS[name]))]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            if code := process.wait(limit):
                problem = f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            problem = f"not done within {limit:.0f} s"
        finally:
            _end(process)
        result = read_result(rows) if rows.exists() else Result([])
    return Run(name, arguments, result, time.monotonic() - started, problem, **stamp())


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With all that it started: a benchmark that is stopped must not go on beside the next one."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _model(name: str) -> Path:
    """The pipeline's own, or the same prepared once in the cache."""
    directory = model_directory(name)
    if directory.is_dir():
        return directory
    directory = cache_directory("bench") / name
    if not directory.is_dir():
        prepare_model(load_params().models[name], directory)
    return directory


if __name__ == "__main__":
    main()

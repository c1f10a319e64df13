"""All benchmarks against a reference way, one after the other, and their page: python -m bench.side_by_side.

Each runs in a process of its own and is stopped after --limit seconds; the page says what was not measured. Models that
`models/` lacks are prepared in the cache first, as params.yaml names them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.side_by_side.page import PAGE, Run, write_page
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
    "merge": ["--repeats", "2"],
    "embedding": ["--haystacks", "2"],
    "likelihood": ["--questions", "4", "--dtypes", "float32", "--repeats", "1"],
    "datasets": ["50"],
    "memory": ["--sessions", "1000", "5000", "--haystack", "500"],
    "ranking": ["--questions", "12", "--haystack-tokens", "1200", "--written", "8", "--repeats", "1"],
    "rank_stage": ["--prompts", "64"],
}
"""What runs, with sizes that keep all of them under 25 minutes on two cores; in the order of what they take."""

_MODELS = {"retrieval": "embedder", "embedding": "embedder", "prepare_rl": "base", "ranking": "base"}
_MODELS |= {"rank_stage": "base", "likelihood": "base"}


def main() -> None:
    """Run what is named, else all, and write the page after each, so that an interrupt loses only the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--limit", type=float, default=600, help="seconds that one of them may take")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the figures go")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    started, runs = time.monotonic(), []
    chosen = options.names or list(BENCHMARKS)
    for place, name in enumerate(chosen):
        print(f"{name} {' '.join(BENCHMARKS[name])}", flush=True)
        runs.append(_run(name, options.limit))
        waiting = [Run(other, BENCHMARKS[other], Result([]), 0, "not run") for other in chosen[place + 1 :]]
        write_page(options.page, [*runs, *waiting], time.monotonic() - started)
    print(f"{options.page} written")
    if failed := [run.name for run in runs if run.problem]:
        parser.exit(1, f"not measured: {', '.join(failed)}\n")


def _run(name: str, limit: float) -> Run:
    arguments, started = list(BENCHMARKS[name]), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="memsifter-bench-") as folder:
        rows = Path(folder, "rows.json")
        command = [sys.executable, "-m", f"bench.{name}", *arguments, "--rows", str(rows)]
        if name in _MODELS:
            command += ["--model", str(_model(_MODELS[name]))]
        problem = ""
        try:
            if code := subprocess.run(command, cwd=ROOT, timeout=limit, check=False).returncode:
                problem = f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            problem = f"not done within {limit:.0f} s"
        result = read_result(rows) if rows.exists() else Result([])
    return Run(name, arguments, result, time.monotonic() - started, problem)


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

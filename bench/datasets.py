"""Time and memory of reading a file of LongMemEval_M's shape: python -m bench.datasets [QUESTIONS] [SESSIONS].

The default, 500 questions over 500 sessions each, is a JSON file of 2.7 GB and a processed dataset of some hundred MB;
both go to a temporary folder. A plain `json.load` of a file of a tenth of the questions is measured beside it.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import pandas as pd

QUESTIONS, SESSIONS, POOL = 500, 500, 20_000
_TURNS = 10
_TURN_CHARACTERS = 1_040  # 2.7 GB over 250,000 sessions
# VmHWM is of this program alone; ru_maxrss would begin at the resident memory of the process that started it.
_PEAK = "next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM:'))"
_READ = (
    "import sys; from pathlib import Path; "
    "from memsifter.datasets.longmemeval import LongMemEvalReader; from memsifter.corpus.store import write_dataset; "
    "report = write_dataset(LongMemEvalReader().read(Path(sys.argv[1])), Path(sys.argv[2])); "
    f"print(report['questions'], report['unique_sessions'], {_PEAK})"
)
_LOAD = f"import json, sys; rows = json.load(open(sys.argv[1])); print(len(rows), 0, {_PEAK})"


def write_longmemeval_file(path: Path, questions: int, sessions: int, pool: int) -> int:
    """Write a file in LongMemEval's layout whose haystacks draw their sessions from a pool of distinct ones.

    Returns:
        Its size in bytes.
    """
    rng = Random(0)
    words = [f"w{rng.randrange(100_000):x}" for _ in range(2_000)]
    paragraphs = [" ".join(rng.choices(words, k=_TURN_CHARACTERS // 5))[:_TURN_CHARACTERS] for _ in range(500)]
    with path.open("w", encoding="utf-8") as stream:
        for number in range(questions):
            drawn = rng.sample(range(pool), sessions)
            row = {
                "question_id": f"q{number}",
                "question_type": "multi-session",
                "question": f"What was said in session {drawn[0]}?",
                "answer": f"thing {number}",
                "question_date": "2023/12/18 (Mon) 04:17",
                "haystack_dates": ["2023/05/20 (Sat) 02:11"] * sessions,
                "haystack_session_ids": [f"session_{index}" for index in drawn],
                "haystack_sessions": [_session(index, paragraphs) for index in drawn],
                "answer_session_ids": [f"session_{drawn[0]}"],
            }
            stream.write("[" if number == 0 else ",\n")
            json.dump(row, stream)
        stream.write("]\n")
    return path.stat().st_size


def measure_read(path: Path, directory: Path) -> tuple[int, int, float]:
    """Questions, distinct sessions and peak resident memory in MB of the data stage's reading and writing."""
    return _measure(_READ, str(path), str(directory))


def measure_json_load(path: Path) -> tuple[int, int, float]:
    """The same of a reader that holds the whole file."""
    return _measure(_LOAD, str(path))


def _session(index: int, paragraphs: list[str]) -> list[dict[str, str]]:
    rng = Random(index)
    return [
        {"role": "user" if turn % 2 == 0 else "assistant", "content": f"{index}.{turn} {rng.choice(paragraphs)}"}
        for turn in range(_TURNS)
    ]


def _measure(program: str, *arguments: str) -> tuple[int, int, float]:
    result = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    rows, unique, kibibytes = (int(value) for value in result.stdout.split())
    return rows, unique, kibibytes / 1024


def main() -> None:
    """Write the files, measure, print a table."""
    questions, sessions = (int(value) for value in (sys.argv[1:] or (QUESTIONS, SESSIONS)))
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (questions // 10, questions):
            path = Path(folder) / "longmemeval.json"
            size = write_longmemeval_file(path, count, sessions, POOL) / 1e6
            start = time.perf_counter()
            _, unique, peak = measure_read(path, Path(folder) / "processed")
            rows.append(("data stage", count, unique, size, time.perf_counter() - start, peak))
            if count < questions:
                start = time.perf_counter()
                peak = measure_json_load(path)[2]
                rows.append(("json.load", count, None, size, time.perf_counter() - start, peak))
    columns = ["reader", "questions", "distinct sessions", "file MB", "seconds", "peak RSS MB"]
    print(pd.DataFrame(rows, columns=columns).astype(object).fillna("").to_markdown(index=False, floatfmt=".0f"))


if __name__ == "__main__":
    main()

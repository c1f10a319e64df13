"""Time and memory of reading a file of LongMemEval_M's shape: python -m bench.datasets [QUESTIONS] [SESSIONS].

The default, 500 questions over 500 sessions each, is a JSON file of 2.7 GB and a processed dataset of some hundred MB;
both go to a temporary folder. A plain `json.load` of a file of a tenth of the questions is measured beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from bench.side_by_side.rows import Result, Row, Scale, add_rows_option, finish
from bench.side_by_side.timing import cpu_seconds

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
    """Write the file, read it both ways, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=int, nargs="?", default=QUESTIONS)
    parser.add_argument("sessions", type=int, nargs="?", default=SESSIONS, help="of each question's haystack")
    add_rows_option(parser)
    options = parser.parse_args()
    finish(_compare(options.questions, options.sessions), options.rows)


def _compare(questions: int, sessions: int) -> Result:
    scaling = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "longmemeval.json"
        for count in (questions // 10, questions):
            size = write_longmemeval_file(path, count, sessions, POOL) / 1e6
            started = cpu_seconds()
            _, unique, peak = measure_read(path, Path(folder) / "processed")
            said = f"{count} questions, {unique:,} distinct sessions, {size:,.0f} MB"
            scaling.append(Scale("data stage: peak memory", said, peak, "MB"))
            scaling.append(Scale("data stage", said, cpu_seconds() - started, "CPU s"))
            if count < questions:
                loaded, read = measure_json_load(path)[2], peak
                row = Row(
                    f"read {size:,.0f} MB of LongMemEval_M's shape: peak memory",
                    "`json.load`",
                    loaded,
                    read,
                    "MB",
                    floor_is="one question's haystack, and the distinct keys",
                    note="Most of it is Python and its libraries; it grows with the distinct sessions alone.",
                )
    return Result([row], scaling)


if __name__ == "__main__":
    main()

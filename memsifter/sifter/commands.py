"""The commands `memsifter sift`, `answer` and `weights`: JSON lines in and out."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memsifter.sifter.settings import SifterSettings
    from memsifter.sifter.sifter import Sifter

AddCommand = Callable[[Any, str, Callable[[argparse.Namespace], None], str, str], argparse.ArgumentParser]
_STDIN = "-"


def add_commands(commands: Any, add: AddCommand) -> None:
    """Add the commands to those of `memsifter`."""
    sift = add(
        commands,
        "sift",
        _sift,
        "Find the past sessions that a question needs. Writes a JSON line for each, best first: rank, index, id, date, "
        "score, excerpt and the ranker's thought.",
        "memsifter sift 'What is my cat called?' --sessions history.jsonl\n"
        "memsifter sift 'Where did I go last week?' --sessions history.jsonl --date 2024-05-20 --top-k 3\n"
        "cat history.jsonl | memsifter sift 'What is my cat called?' --sessions - | jq -r .excerpt\n"
        'memsifter sift - --sessions history.jsonl < questions.jsonl      lines of {"question": …, "date": …}\n'
        "memsifter sift 'Who is Ada?' --sessions history.jsonl --params params.yaml --weights data/fusion/weights.json "
        "--reader models/base --ranker models/round1 --rank-fusion data/rankings/round1/sample.json "
        "--collection data/processed/sample",
    )
    answer = add(
        commands,
        "answer",
        _answer,
        "Let an LLM answer from the sessions that a question needs. Writes a JSON line: answer, and the ids of the "
        "sessions that the LLM was shown. The key of a remote endpoint is read from the environment.",
        "memsifter answer 'What is my cat called?' --sessions history.jsonl --base-url http://localhost:11434/v1 "
        "--model qwen3:4b\n"
        "memsifter answer - --sessions history.jsonl --base-url https://api.openai.com/v1 --model gpt-5-mini "
        "< questions.jsonl",
    )
    for parser in (sift, answer):
        _add_inputs(parser)
    sift.add_argument("--top-k", type=int, default=5, metavar="K", help="the most sessions (default: 5)")
    sift.add_argument("--min-score", type=float, metavar="S", help="leave out sessions whose score is lower")
    answer.add_argument("--base-url", required=True, metavar="URL", help="an OpenAI-compatible endpoint, …/v1")
    answer.add_argument("--model", required=True, help="the LLM's name there")
    answer.add_argument("--api-key-env", metavar="NAME", help="variable with the key (default: OPENAI_API_KEY)")
    answer.add_argument("--top-k", type=int, metavar="K", help="the most sessions that the LLM is shown (default: 10)")
    weights = add(
        commands,
        "weights",
        _weights,
        "Write the weights of the coarse scores that ship with the package. By default those that fitting starts from; "
        "--fit fits them on the built-in, generated conversations.",
        "memsifter weights\nmemsifter weights --fit /tmp/weights.json",
    )
    weights.add_argument("file", nargs="?", type=Path, help="what to write (default: memsifter/sifter/weights.json)")
    weights.add_argument("--fit", action="store_true", help="fit them on the train questions of the generated sample")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", help='the question, or "-": JSON lines of questions from stdin')
    parser.add_argument(
        "--sessions",
        required=True,
        metavar="FILE",
        help='the past sessions: JSON lines, or a JSON array, of {"id", "date", "turns"} or of lists of messages; '
        '"-" for stdin',
    )
    parser.add_argument("--date", metavar="DAY", help="when the question is asked, such as 2024-05-20")
    add_models(parser)


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what a sifter is made of, for `open_sifter`."""
    parser.add_argument("--ranker", metavar="MODEL", help="a folder or hf:… of a ranker (default: none)")
    parser.add_argument("--embedder", metavar="MODEL", help="a folder or reference of an embedder (default: MiniLM)")
    parser.add_argument("--reader", metavar="MODEL", help="the LLM that reads (retrieval.fusion: fitted_likelihood)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a pipeline's data/fusion/weights.json")
    parser.add_argument(
        "--rank-fusion", type=Path, metavar="FILE", help="a pipeline's data/rankings/RANKER/DATASET.json"
    )
    parser.add_argument(
        "--collection",
        type=Path,
        metavar="FOLDER",
        help="a pipeline's data/processed/DATASET, whose sessions decide as well which words and dates are rare",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where the models run (default: cpu)")
    parser.add_argument("--params", type=Path, metavar="FILE", help="a pipeline's params.yaml (default: the defaults)")
    parser.add_argument("--no-cache", action="store_true", help="do not keep the sessions' vectors for the next call")


def _sift(options: argparse.Namespace) -> None:
    sessions, asked = _read_inputs(options)
    with open_sifter(options) as sifter:
        texts, dates = [text for text, _ in asked], [day for _, day in asked]
        found = sifter.sift_many(texts, sessions, dates, options.top_k, options.min_score)
    for text, ranked in zip(texts, found, strict=True):
        question = {"question": text} if options.question == _STDIN else {}
        for rank, session in enumerate(ranked, start=1):
            _write({**question, "rank": rank, **asdict(session)})


def _answer(options: argparse.Namespace) -> None:
    sessions, asked = _read_inputs(options)
    endpoint = {name: getattr(options, name) for name in ("base_url", "model", "api_key_env", "top_k")}
    with open_sifter(options) as sifter:
        for text, day in asked:
            answer = sifter.answer(text, sessions, day, **endpoint)
            question = {"question": text} if options.question == _STDIN else {}
            _write({**question, "answer": answer.text, "session_ids": answer.session_ids})


def _weights(options: argparse.Namespace) -> None:
    from memsifter.sifter.fit import write_shipped_weights
    from memsifter.sifter.settings import WEIGHTS_FILE

    path = options.file or WEIGHTS_FILE
    write_shipped_weights(path, options.fit)
    print(f"{path} written")


def open_sifter(options: argparse.Namespace) -> "Sifter":
    """The sifter that the options of `add_models` describe.

    Raises:
        MemSifterError: as `memsifter.sifter.sifter.Sifter.from_pretrained`, or a file is missing or wrong.
    """
    from memsifter.io.paths import cache_directory
    from memsifter.ranking.weight import read_rank_fusion
    from memsifter.sifter.models import DEFAULT_EMBEDDER
    from memsifter.sifter.settings import method_weights
    from memsifter.sifter.sifter import Sifter

    settings = _settings(options)
    return Sifter.from_pretrained(
        options.ranker,
        embedder=options.embedder or DEFAULT_EMBEDDER,
        reader=options.reader,
        device=options.device,
        settings=settings,
        weights=options.weights and method_weights(options.weights, settings.retrieval),
        fusion=options.rank_fusion and read_rank_fusion(options.rank_fusion),
        vectors=None if options.no_cache else cache_directory("sifter"),
        collection=options.collection,
    )


def _settings(options: argparse.Namespace) -> "SifterSettings":
    from memsifter.sifter.settings import SifterSettings

    return SifterSettings.read(options.params) if options.params else SifterSettings()


def _read_inputs(options: argparse.Namespace) -> tuple[list[Any], list[tuple[str, str | None]]]:
    """The sessions, and each question with its date."""
    from memsifter.errors import MemSifterError
    from memsifter.sifter.inputs import parse_sessions

    if options.question == options.sessions == _STDIN:
        raise MemSifterError("questions and sessions cannot both come from stdin; name a file for --sessions")
    sessions = parse_sessions(read_text(options.sessions), options.sessions)
    asked = list(_read_questions(options.date)) if options.question == _STDIN else [(options.question, options.date)]
    return sessions, asked


def _read_questions(default_date: str | None) -> Iterator[tuple[str, str | None]]:
    from memsifter.datasets.io.json_text import parse_json
    from memsifter.datasets.io.layout import check_kind, require
    from memsifter.datasets.jsonl import optional_text
    from memsifter.sifter.inputs import number_lines

    for number, line in number_lines(read_text(_STDIN)):
        place = f"stdin: line {number}"
        fields = check_kind(parse_json(line, place), dict, place)
        yield require(fields, "question", str, place), optional_text(fields, "date", place) or default_date


def read_text(name: str) -> str:
    """The text of a file, or of stdin where its name is "-".

    Raises:
        MemSifterError: it cannot be read, or is not UTF-8.
    """
    from memsifter.errors import MemSifterError

    try:
        content = sys.stdin.buffer.read() if name == _STDIN else Path(name).read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MemSifterError(f"{name}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise MemSifterError(f"{name}: cannot be read ({error.strerror})") from error


def _write(row: dict[str, Any]) -> None:
    print(json.dumps(row, ensure_ascii=False), flush=True)

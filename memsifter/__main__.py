"""The command `memsifter`, also as `python -m memsifter`."""

import argparse
import sys
from pathlib import Path

from memsifter.command import command
from memsifter.datasets.check import CheckReport, check_records, guess_reader
from memsifter.datasets.registry import CATALOGUE, READERS, parse_source, read
from memsifter.io.paths import ROOT
from memsifter.params import AnyDatasetParams, load_params


def main() -> None:
    """Run the command line; exit code 1 for errors in the data, 2 for a wrong call."""
    arguments = _parse_arguments()
    with command():
        report = CheckReport()
        params, name = _find_source(arguments.source, arguments.reader)
        for line in check_records(read(params, name), report):
            print(_printable(line))
        print(f"{arguments.source}: {report.summary()}")
        if report.errors:
            sys.exit(1)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="memsifter", description="Long-term memory retrieval for LLMs.")
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    data = groups.add_parser("data", help="work with datasets").add_subparsers(required=True, metavar="COMMAND")
    check = data.add_parser(
        "check",
        help="report every problem of a dataset",
        description="Report every problem of a dataset, with its row, its field and what to do. Exits with 1 if the "
        "data stage would refuse something.",
    )
    check.add_argument("source", help="a file or folder, a dataset of params.yaml, or a benchmark's name")
    check.add_argument("--reader", choices=READERS, help="the layout of a file (default: told from its content)")
    return parser.parse_args()


def _find_source(source: str, reader: str | None) -> tuple[AnyDatasetParams, str]:
    path = Path(source)
    if path.exists():
        return parse_source(reader or guess_reader(path), path=path)
    datasets = load_params().datasets if (ROOT / "params.yaml").exists() else {}
    if source in datasets and reader is None:
        return datasets[source], source
    options = {"reader": reader} if reader and source in CATALOGUE else {}
    return parse_source(source, **options)


def _printable(line: str) -> str:
    """Control characters and halves of surrogate pairs as escapes; a terminal must not act on them."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode("ascii")
        for character in line
    )


if __name__ == "__main__":
    main()

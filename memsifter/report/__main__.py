"""Write the report of the current outs: `python -m memsifter.report [file]`."""

import argparse
from pathlib import Path

from memsifter.command import command
from memsifter.report import write_report

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m memsifter.report")
    parser.add_argument("file", nargs="?", type=Path, help="the page (default: reports/report.html)")
    target = parser.parse_args().file
    with command():
        write_report(target)

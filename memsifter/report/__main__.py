"""Write the report of the current outs: `python -m memsifter.report [file]`, by default reports/report.html."""

import logging
import sys
from pathlib import Path

from memsifter.command import command
from memsifter.io import paths
from memsifter.io.files import write_text
from memsifter.params import load_params

# `python -m` names this module __main__.
logger = logging.getLogger("memsifter.report")


def main() -> None:
    """Entry point."""
    if len(sys.argv) > 2:
        print("usage: python -m memsifter.report [file]", file=sys.stderr)
        sys.exit(2)
    with command():
        params = load_params()
        # Imported here: MLflow and matplotlib take seconds, and a wrong parameter should be told at once.
        from memsifter.report.page import render_page

        target = Path(sys.argv[1]) if len(sys.argv) == 2 else paths.ROOT / "reports" / "report.html"
        page = render_page(params)
        write_text(target, page)
        logger.info("%s written, %.1f MB; open it in a browser", target, len(page.encode()) / 1e6)


if __name__ == "__main__":
    main()

"""One self-contained HTML page about what the pipeline computed: `write_report`, or `memsifter report`."""

import logging
from pathlib import Path

from memsifter.errors import MemSifterError
from memsifter.io import paths
from memsifter.io.files import write_text
from memsifter.params import load_params

logger = logging.getLogger(__name__)


def write_report(target: Path | None = None) -> None:
    """Write the page about the outs of this checkout and log where it is.

    Args:
        target: the file; by default `reports/report.html`.

    Raises:
        MemSifterError: `target` is a folder or lies in a file, params.yaml is wrong, or an out is missing; says which
            stage writes it.
    """
    if target and (target.is_dir() or next(path for path in target.absolute().parents if path.exists()).is_file()):
        raise MemSifterError(f"{target}: no page can be written there; give a file's name in a folder")
    params = load_params()
    # Imported here: MLflow and matplotlib take seconds, and a wrong parameter should be reported at once.
    from memsifter.report.page import render_page

    target = target or paths.ROOT / "reports" / "report.html"
    page = render_page(params)
    write_text(target, page)
    logger.info("%s written, %.1f MB; open it in a browser", target, len(page.encode()) / 1e6)
